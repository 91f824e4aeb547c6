//! Which parts of which documents go.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::clean::duplicates::sort::{Record, Scratch, Sorted, Sorter};
use crate::error::{Error, Result};

/// Takes the parts of all documents.
pub struct Finder {
    sorter: Sorter<u128>,
    scratch: Scratch,
    memory: usize,
    threads: usize,
}

impl Finder {
    /// Uses about `memory` bytes, and what is more goes to a folder in `scratch`.
    pub fn new(memory: usize, threads: usize, scratch: &Path) -> Self {
        let scratch = Scratch::new(scratch);
        Self { sorter: Sorter::new(memory / 2, threads, &scratch), scratch, memory, threads }
    }

    /// Takes the parts of a document; documents may come in any order.
    pub fn add(&mut self, document: u32, parts: &[(u32, u64)]) -> Result<()> {
        parts.iter().try_for_each(|(place, hash)| {
            self.sorter.push(u128::from(*hash) << 64 | u128::from(document) << 32 | u128::from(*place))
        })
    }

    /// What stands in `least` documents or more, but for its first occurrence. With 1 a document's own repetition is
    /// enough, as it is for datatrove's spans.
    pub fn finish(self, least: usize) -> Result<Repeats> {
        let mut repeated = Sorter::new(self.memory / 2, self.threads, &self.scratch);
        let (mut hash, mut document, mut documents) = (None, 0, 0);
        // occurrences of a part that too few documents have, so far
        let mut waiting: Vec<u64> = Vec::new();
        self.sorter.finish()?.each(&mut |record| {
            let (next, occurrence) = ((record >> 64) as u64, record as u64);
            let next_document = (occurrence >> 32) as u32;
            if hash != Some(next) {
                (hash, document, documents) = (Some(next), next_document, 1);
                waiting.clear();
                return Ok(());
            }
            if document != next_document {
                (document, documents) = (next_document, documents + 1);
            }
            waiting.push(occurrence);
            if documents < least {
                return Ok(());
            }
            waiting.drain(..).try_for_each(|occurrence| repeated.push(occurrence))
        })?;
        Repeats::new(repeated.finish()?, self.scratch)
    }
}

/// The parts that go, by document.
pub struct Repeats {
    at: At,
}

/// A document and a place in one number, in order.
enum At {
    Memory(Vec<u64>),
    Disk { mapped: Mmap, _folder: Scratch },
}

impl Repeats {
    fn new(repeated: Sorted<u64>, scratch: Scratch) -> Result<Self> {
        if let Sorted::Held(held) = repeated {
            return Ok(Self { at: At::Memory(held) });
        }
        let path: PathBuf = repeated.into_file(&scratch)?;
        // SAFETY: the file is this process's own, in a folder that no other may open, and is not written any more
        let mapped = File::open(&path).and_then(|file| unsafe { Mmap::map(&file) });
        let mapped = mapped.map_err(|error| Error::io("read", &path, &error))?;
        Ok(Self { at: At::Disk { mapped, _folder: scratch } })
    }

    /// How many parts go in all.
    pub fn count(&self) -> usize {
        match &self.at {
            At::Memory(held) => held.len(),
            At::Disk { mapped, .. } => mapped.len() / u64::BYTES,
        }
    }

    fn at(&self, index: usize) -> u64 {
        match &self.at {
            At::Memory(held) => held[index],
            At::Disk { mapped, .. } => u64::take(&mapped[index * u64::BYTES..(index + 1) * u64::BYTES]),
        }
    }

    /// Fills `places` with those of a document's parts that go, in order.
    pub fn of(&self, document: u32, places: &mut Vec<u32>) {
        places.clear();
        let first = u64::from(document) << 32;
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            if self.at(middle) < first {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let here = (low..self.count()).map(|index| self.at(index)).take_while(|at| (at >> 32) as u32 == document);
        places.extend(here.map(|at| at as u32));
    }
}

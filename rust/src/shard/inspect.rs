//! Looking into finished shards.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::manifest::{Manifest, Shard, Split, MANIFEST};
use super::plan::Dtype;
use crate::error::{Error, Result};

pub struct Reader {
    folder: PathBuf,
    pub manifest: Manifest,
}

/// A document of a split, or its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub file: String,
    /// Where it starts in its file, in tokens.
    pub start: u64,
    /// All of its tokens, in this file and the next.
    pub tokens: u64,
    /// As many of them as were asked for.
    pub ids: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    pub documents: u64,
    pub shortest: u64,
    pub median: u64,
    pub ninetieth: u64,
    pub longest: u64,
    /// How often each id occurs.
    pub counts: Vec<u64>,
}

impl Reader {
    pub fn open(folder: &Path) -> Result<Self> {
        if !folder.exists() {
            return Err(Error::data(format!("there is no folder {}", folder.display()))
                .hint("pylm tokenize writes one: pylm tokenize SOURCE --out DIR"));
        }
        let manifest = Manifest::read(folder)?.ok_or_else(|| {
            let unfinished = folder.join(super::plan::JOB).exists();
            let what = if unfinished { "is not finished: it has" } else { "holds no token shards: it has" };
            let hint = if unfinished {
                "run the same pylm tokenize command again; it does what is missing"
            } else {
                "give the folder that pylm tokenize wrote"
            };
            Error::data(format!("{} {what} no {MANIFEST}", folder.display())).hint(hint)
        })?;
        Ok(Self { folder: folder.into(), manifest })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn shards(&self, split: &str) -> Result<&[Shard]> {
        let found = self.manifest.splits().into_iter().find(|(name, _)| *name == split);
        found
            .map(|(_, split)| split.shards.as_slice())
            .ok_or_else(|| Error::usage(format!("there is no split {split:?}")).hint("the splits are train and val"))
    }

    /// Document `number` of a split, the first `most` of its tokens.
    pub fn document(&self, split: &str, number: u64, most: u64) -> Result<Document> {
        let shards = self.shards(split)?;
        let mut before = 0;
        for (place, shard) in shards.iter().enumerate() {
            // a continuation at the beginning is no document of its own
            let skip = u64::from(shard.starts_inside);
            let here = shard.documents - skip;
            if number >= before + here {
                before += here;
                continue;
            }
            let entry = number - before + skip;
            let [start, end] = self.bounds(shard, entry)?;
            let mut document = Document {
                file: shard.file.clone(),
                start,
                tokens: end - start,
                ids: self.ids(shard, start, end.min(start.saturating_add(most)))?,
            };
            if entry + 1 == shard.documents {
                for next in shards[place + 1..].iter().take_while(|next| next.starts_inside) {
                    let [_, end] = self.bounds(next, 0)?;
                    document.tokens += end;
                    let room = most - document.ids.len() as u64;
                    document.ids.extend(self.ids(next, 0, end.min(room))?);
                    if next.documents > 1 {
                        break;
                    }
                }
            }
            return Ok(document);
        }
        let has = |split: &Split| split.shards.iter().any(|shard| shard.documents > 0);
        let hint = match (before, self.manifest.splits().into_iter().find(|(_, split)| has(split))) {
            (1.., _) => format!("its documents count from 0 to {}", before - 1),
            (0, Some((other, _))) => format!("{split} holds no documents; --split {other} does"),
            (0, None) => "it holds no documents at all".into(),
        };
        Err(Error::usage(format!("{} has no document {number} in {split}", self.folder.display())).hint(hint))
    }

    fn bounds(&self, shard: &Shard, entry: u64) -> Result<[u64; 2]> {
        let path = self.folder.join(shard.index_file());
        let mut bytes = [0; 16];
        read_at(&path, &mut bytes, 8 * entry)?;
        let number =
            |place: usize| bytes[place..place + 8].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
        let bounds = [number(0), number(8)];
        if bounds[0] > bounds[1] || bounds[1] > shard.tokens {
            return Err(Error::data(format!("{}: the entry at byte {} is wrong", path.display(), 8 * entry))
                .hint(format!("run pylm data verify {}", self.folder.display())));
        }
        Ok(bounds)
    }

    fn ids(&self, shard: &Shard, start: u64, end: u64) -> Result<Vec<u32>> {
        let (size, base) = (self.manifest.dtype.size(), self.manifest.base());
        let path = self.folder.join(&shard.file);
        // before so much memory is asked for
        let there = std::fs::metadata(&path).map_err(|error| Error::io("read", &path, &error))?.len();
        if there < base + end * size {
            return Err(damaged(&self.folder, &path));
        }
        let mut bytes = vec![0; ((end - start) * size) as usize];
        read_at(&path, &mut bytes, base + start * size)?;
        Ok(widen(self.manifest.dtype, &bytes).collect())
    }

    /// Lengths of documents and counts of ids: reads all of a split.
    pub fn statistics(&self, split: &str, check: &mut dyn FnMut() -> Result<()>) -> Result<Statistics> {
        let mut counts = vec![0u64; self.manifest.vocab_size as usize];
        let mut lengths = Lengths::default();
        let mut buffer = vec![0; 1 << 20];
        for shard in self.shards(split)? {
            let path = self.folder.join(&shard.file);
            let base = self.manifest.base();
            let mut place = 0;
            let length = shard.bytes - base;
            while place < length {
                let wanted = (length - place).min(buffer.len() as u64) as usize;
                read_at(&path, &mut buffer[..wanted], base + place)?;
                for id in widen(self.manifest.dtype, &buffer[..wanted]) {
                    match counts.get_mut(id as usize) {
                        Some(count) => *count += 1,
                        None => return Err(damaged(&self.folder, &path)),
                    }
                }
                place += wanted as u64;
                check()?;
            }
            let path = self.folder.join(shard.index_file());
            let (mut place, mut last) = (0, None);
            while place < shard.index_bytes {
                let wanted = (shard.index_bytes - place).min(buffer.len() as u64) as usize;
                read_at(&path, &mut buffer[..wanted], place)?;
                for entry in buffer[..wanted].chunks_exact(8) {
                    let start = entry.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
                    if let Some(last) = last {
                        lengths.add(u64::checked_sub(start, last).ok_or_else(|| damaged(&self.folder, &path))?);
                    }
                    last = Some(start);
                }
                place += wanted as u64;
                check()?;
            }
        }
        let at = |share: f64| lengths.quantile(share);
        Ok(Statistics {
            documents: lengths.count,
            shortest: at(0.0),
            median: at(0.5),
            ninetieth: at(0.9),
            longest: at(1.0),
            counts,
        })
    }
}

fn damaged(folder: &Path, path: &Path) -> Error {
    Error::data(format!("{} is damaged", path.display())).hint(format!("run pylm data verify {}", folder.display()))
}

fn read_at(path: &Path, bytes: &mut [u8], place: u64) -> Result<()> {
    File::open(path).and_then(|file| file.read_exact_at(bytes, place)).map_err(|error| {
        Error::io("read", path, &error)
            .hint(format!("run pylm data verify {}", path.parent().unwrap_or(Path::new(".")).display()))
    })
}

pub(super) fn widen(dtype: Dtype, bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes
        .chunks_exact(dtype.size() as usize)
        .map(|id| id.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte)))
}

/// Lengths counted one by one up to a bound and listed above it: long documents are few.
#[derive(Default)]
struct Lengths {
    count: u64,
    short: Vec<u64>,
    long: Vec<u64>,
}

impl Lengths {
    const SHORT: u64 = 1 << 16;

    fn add(&mut self, length: u64) {
        self.count += 1;
        if length < Self::SHORT {
            let place = length as usize;
            if self.short.len() <= place {
                self.short.resize(place + 1, 0);
            }
            self.short[place] += 1;
        } else {
            self.long.push(length);
        }
    }

    fn quantile(&self, share: f64) -> u64 {
        let mut rank = (share * self.count.saturating_sub(1) as f64).round() as u64;
        for (length, &count) in self.short.iter().enumerate() {
            if rank < count {
                return length as u64;
            }
            rank -= count;
        }
        let mut long = self.long.clone();
        long.sort_unstable();
        long.get(rank as usize).copied().unwrap_or(0)
    }
}

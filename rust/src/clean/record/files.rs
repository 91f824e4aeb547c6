//! The files of a folder of tags, read one after another.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Tag;
use crate::clean::duplicates::Sketched;
use crate::error::{Error, Result};

pub const SCHEMA: &str = "tags.json";
pub const RECORDS: &str = "records.bin";
pub const SKETCHES: &str = "sketches.bin";
pub const CLUSTERS: &str = "clusters.bin";

/// Entries of one size.
struct Entries {
    path: PathBuf,
    from: BufReader<File>,
    entry: Vec<u8>,
}

impl Entries {
    fn open(path: PathBuf, size: usize) -> Result<Self> {
        let file = File::open(&path).map_err(|error| Error::io("read", &path, &error))?;
        Ok(Self { path, from: BufReader::with_capacity(1 << 20, file), entry: vec![0; size] })
    }

    fn next(&mut self) -> Result<&[u8]> {
        self.from.read_exact(&mut self.entry).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Error::data(format!("{} ends too early", self.path.display()))
                .hint("copy the folder again, or clean again with --force"),
            _ => Error::io("read", &self.path, &error),
        })?;
        Ok(&self.entry)
    }
}

/// The records of one file.
pub struct Reader {
    entries: Entries,
    tag: Tag,
}

impl Reader {
    pub fn open(path: PathBuf, measures: usize) -> Result<Self> {
        Self::open_at(path, measures, 0)
    }

    /// Begins with a document.
    pub fn open_at(path: PathBuf, measures: usize, document: u32) -> Result<Self> {
        let mut entries = Entries::open(path, Tag::size(measures))?;
        let start = u64::from(document) * Tag::size(measures) as u64;
        let sought = entries.from.seek(SeekFrom::Start(start));
        sought.map_err(|error| Error::io("read", &entries.path, &error))?;
        Ok(Self { entries, tag: Tag::default() })
    }

    /// The next, of which there must be one.
    pub fn take(&mut self) -> Result<&mut Tag> {
        self.tag.take(self.entries.next()?);
        Ok(&mut self.tag)
    }
}

/// The hashes and sketches of several files, one after another.
pub struct Sketches {
    /// The files, and how many documents each has.
    pub files: Vec<(PathBuf, u32)>,
    pub sketch_bytes: usize,
}

impl Sketched for Sketches {
    fn count(&self) -> u32 {
        self.files.iter().map(|(_, count)| count).sum()
    }

    fn each(&self, visit: &mut dyn FnMut(u128, &[u8]) -> Result<()>) -> Result<()> {
        for (path, count) in &self.files {
            let mut entries = Entries::open(path.clone(), 16 + self.sketch_bytes)?;
            for _ in 0..*count {
                let (hash, sketch) = entries.next()?.split_at(16);
                let mut bytes = [0; 16];
                bytes.copy_from_slice(hash);
                visit(u128::from_le_bytes(bytes), sketch)?;
            }
        }
        Ok(())
    }
}

/// Who belongs together, by document.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Clustered {
    pub exact: Vec<u32>,
    pub near: Vec<u32>,
}

impl Clustered {
    pub fn bytes(&self) -> Vec<u8> {
        let both = self.exact.iter().zip(&self.near);
        both.flat_map(|(exact, near)| [exact.to_le_bytes(), near.to_le_bytes()].concat()).collect()
    }

    pub fn read(folder: &Path, count: u32) -> Result<Self> {
        let mut entries = Entries::open(folder.join(CLUSTERS), 8)?;
        let mut read = Self::default();
        for _ in 0..count {
            let (exact, near) = entries.next()?.split_at(4);
            read.exact.push(number(exact));
            read.near.push(number(near));
        }
        Ok(read)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

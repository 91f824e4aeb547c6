//! Counts on disk: files of pre-tokens in the order of hash and bytes, merged into one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use super::count_table::CountTable;
use super::visit::Visit;
use crate::error::{Error, Result};

/// Files that are merged at a time: each holds a buffer and a descriptor.
const FAN_IN: usize = 64;
const BUFFER: usize = 64 << 10;

pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::io("write", path, error)
        .hint("free some space there, or name another temporary folder or a greater --memory")
}

/// One pre-token of a file.
#[derive(Default, PartialEq, Eq)]
struct Record {
    hash: u64,
    bytes: Vec<u8>,
    count: u64,
}

pub(super) struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    pub records: u64,
}

impl Writer {
    pub fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file), path: path.into(), records: 0 })
    }

    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    pub fn put(&mut self, bytes: &[u8], hash: u64, count: u64) -> Result<()> {
        let mut head = [0; 20];
        head[..8].copy_from_slice(&hash.to_le_bytes());
        head[8..16].copy_from_slice(&count.to_le_bytes());
        head[16..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.records += 1;
        self.raw(&head)?;
        self.raw(bytes)
    }

    /// Everything has left for the file.
    pub fn finish(self) -> Result<File> {
        let path = self.path;
        self.file.into_inner().map_err(|error| cannot_write(&path, error.error()))
    }
}

pub(super) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    record: Record,
    left: u64,
    /// Bytes of the file: no pre-token has more.
    size: u64,
}

impl Reader {
    /// `records` of them, from `start` on.
    fn new(path: &Path, start: u64, records: u64) -> Result<Self> {
        use std::io::Seek;
        let mut file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
        file.seek(std::io::SeekFrom::Start(start)).map_err(|error| Error::io("read", path, &error))?;
        let size = file.metadata().map_err(|error| Error::io("read", path, &error))?.len();
        Ok(Self {
            file: BufReader::with_capacity(BUFFER, file),
            path: path.into(),
            record: Record::default(),
            left: records,
            size,
        })
    }

    /// Reads the next record; false at the end.
    fn next(&mut self) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        let failed = |error: &std::io::Error| Error::io("read", &self.path, error);
        let mut head = [0; 20];
        self.file.read_exact(&mut head).map_err(|error| failed(&error))?;
        let (hash, rest) = head.split_first_chunk::<8>().expect("twenty bytes");
        let (count, length) = rest.split_first_chunk::<8>().expect("twelve bytes");
        self.record.hash = u64::from_le_bytes(*hash);
        self.record.count = u64::from_le_bytes(*count);
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        if length as u64 > self.size {
            return Err(
                Error::data(format!("{} is damaged", self.path.display())).hint("remove it and train from the start")
            );
        }
        self.record.bytes.resize(length, 0);
        self.file.read_exact(&mut self.record.bytes).map_err(|error| failed(&error))?;
        Ok(true)
    }
}

/// A file of counts, each pre-token once.
pub(super) struct Sorted {
    pub path: PathBuf,
    pub start: u64,
    pub records: u64,
}

impl Sorted {
    pub fn each(&self, visit: Visit<'_>) -> Result<()> {
        let mut reader = Reader::new(&self.path, self.start, self.records)?;
        while reader.next()? {
            visit(&reader.record.bytes, reader.record.hash, reader.record.count);
        }
        Ok(())
    }
}

/// Writes what a table holds, in order.
pub(super) fn write_table(table: &CountTable, path: &Path) -> Result<Sorted> {
    let mut writer = Writer::new(path)?;
    put_table(table, &mut writer)?;
    let records = writer.records;
    writer.finish()?;
    Ok(Sorted { path: path.into(), start: 0, records })
}

pub(super) fn put_table(table: &CountTable, writer: &mut Writer) -> Result<()> {
    table.in_order().into_iter().try_for_each(|place| {
        let (bytes, hash, count) = table.at(place);
        writer.put(bytes, hash, count)
    })
}

/// The reader that is next, the lowest record on top.
struct Next(Reader);

impl PartialEq for Next {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Next {}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |next: &Self| next.0.record.hash;
        key(other).cmp(&key(self)).then_with(|| other.0.record.bytes.cmp(&self.0.record.bytes))
    }
}

/// Merges files into one, in `folder`; they are removed as they are read.
pub(super) fn merge(mut runs: Vec<Sorted>, folder: &Path) -> Result<Sorted> {
    let mut number = 0;
    while runs.len() > 1 {
        let rest = runs.split_off(runs.len().min(FAN_IN));
        let path = folder.join(format!("merged-{number}"));
        number += 1;
        let merged = merge_few(&runs, &path)?;
        for run in runs {
            std::fs::remove_file(&run.path).map_err(|error| Error::io("remove", &run.path, &error))?;
        }
        // the smallest come first: a file that was merged waits until all others were
        runs = rest;
        runs.push(merged);
    }
    Ok(runs.pop().expect("at least one run"))
}

fn merge_few(runs: &[Sorted], path: &Path) -> Result<Sorted> {
    let mut heap = BinaryHeap::new();
    for run in runs {
        let mut reader = Reader::new(&run.path, run.start, run.records)?;
        if reader.next()? {
            heap.push(Next(reader));
        }
    }
    let mut writer = Writer::new(path)?;
    let mut last = Record::default();
    while let Some(mut top) = heap.peek_mut() {
        let record = &mut top.0.record;
        if record.hash == last.hash && record.bytes == last.bytes {
            last.count += record.count;
        } else {
            if last.count > 0 {
                writer.put(&last.bytes, last.hash, last.count)?;
            }
            std::mem::swap(record, &mut last);
        }
        if !top.0.next()? {
            std::collections::binary_heap::PeekMut::pop(top);
        }
    }
    if last.count > 0 {
        writer.put(&last.bytes, last.hash, last.count)?;
    }
    let records = writer.records;
    writer.finish()?;
    Ok(Sorted { path: path.into(), start: 0, records })
}

/// How the names of such folders begin.
pub(super) const COUNTS: &str = "pylm-counts-";

/// A folder that goes away with whatever is in it.
pub(super) struct Temporary {
    pub path: PathBuf,
}

impl Temporary {
    pub fn new(parent: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::create_dir_all(parent).map_err(|error| cannot_write(parent, &error))?;
        let path = parent.join(format!("{COUNTS}{}", crate::unique::suffix()));
        // new, and nobody else's: one that exists may be another training's, or a link to anywhere
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| cannot_write(&path, &error))?;
        Ok(Self { path })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // nothing can be said from here, and what is left is only in the way
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

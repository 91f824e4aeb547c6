//! Records in order, within memory: sorted pieces on disk, merged as they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result};
use crate::threads;

/// Files that are merged at a time: each holds a buffer and a descriptor.
const FAN_IN: usize = 64;
const BUFFER: usize = 256 << 10;
/// Sorted at least so many at a time, however little memory there is.
const FEWEST: usize = 1 << 16;

/// What can be sorted: its bytes are the same in every run.
pub(super) trait Record: Copy + Ord + Send {
    const BYTES: usize;
    fn put(self, to: &mut Vec<u8>);
    fn take(from: &[u8]) -> Self;
}

impl Record for u64 {
    const BYTES: usize = 8;

    fn put(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &[u8]) -> Self {
        Self::from_le_bytes(from.try_into().expect("eight bytes"))
    }
}

impl Record for u128 {
    const BYTES: usize = 16;

    fn put(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.to_le_bytes());
    }

    fn take(from: &[u8]) -> Self {
        Self::from_le_bytes(from.try_into().expect("sixteen bytes"))
    }
}

impl Record for (u128, u32) {
    const BYTES: usize = 20;

    fn put(self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.0.to_le_bytes());
        to.extend_from_slice(&self.1.to_le_bytes());
    }

    fn take(from: &[u8]) -> Self {
        let (key, rest) = from.split_at(16);
        (u128::take(key), u32::from_le_bytes(rest.try_into().expect("four bytes")))
    }
}

/// A folder that goes away with whatever is in it, made when something is first put there.
#[derive(Clone)]
pub(super) struct Scratch(Arc<Folder>);

struct Folder {
    parent: PathBuf,
    made: Mutex<Option<PathBuf>>,
    files: AtomicUsize,
}

impl Scratch {
    pub fn new(parent: &Path) -> Self {
        Self(Arc::new(Folder { parent: parent.into(), made: Mutex::default(), files: AtomicUsize::new(0) }))
    }

    /// A path of its own in the folder.
    pub fn file(&self) -> Result<PathBuf> {
        let mut made = self.0.made.lock().expect("no thread panics");
        let folder = match &mut *made {
            Some(folder) => folder,
            none => none.insert(make_folder(&self.0.parent)?),
        };
        Ok(folder.join(self.0.files.fetch_add(1, Ordering::Relaxed).to_string()))
    }
}

fn make_folder(parent: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::create_dir_all(parent).map_err(|error| cannot_write(parent, &error))?;
    let path = parent.join(format!("pylm-sorted-{}", crate::unique::suffix()));
    // new, and nobody else's: one that exists may be another's, or a link to anywhere
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    made.map_err(|error| cannot_write(&path, &error))?;
    Ok(path)
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(folder) = &*self.made.lock().expect("no thread panics") {
            // nothing can be said from here, and what is left is only in the way
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    Error::io("write", path, error).hint("free some space there, or give more --memory so that less is written")
}

/// Takes records in any order.
pub(super) struct Sorter<R> {
    held: Vec<R>,
    most: usize,
    threads: usize,
    files: Vec<PathBuf>,
    scratch: Scratch,
}

impl<R: Record> Sorter<R> {
    /// Holds about `memory` bytes of records.
    pub fn new(memory: usize, threads: usize, scratch: &Scratch) -> Self {
        let most = (memory / size_of::<R>()).max(FEWEST);
        Self { held: Vec::new(), most, threads, files: Vec::new(), scratch: scratch.clone() }
    }

    #[inline]
    pub fn push(&mut self, record: R) -> Result<()> {
        if self.held.len() == self.most {
            self.spill()?;
        }
        if self.held.len() == self.held.capacity() {
            // doubling would hold half as much again as there may be
            let more = self.held.len().clamp(1024, (self.most - self.held.len()).max(1));
            self.held.reserve_exact(more);
        }
        self.held.push(record);
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        for piece in sorted_pieces(&mut self.held, self.threads)? {
            let path = self.scratch.file()?;
            let mut writer = Writer::new(&path)?;
            piece.iter().try_for_each(|record| writer.put(*record))?;
            writer.finish()?;
            self.files.push(path);
        }
        self.held.clear();
        Ok(())
    }

    /// All of them, in order.
    pub fn finish(mut self) -> Result<Sorted<R>> {
        if self.files.is_empty() {
            let pieces = sorted_pieces(&mut self.held, self.threads)?.len();
            if pieces > 1 {
                self.held.sort();
            }
            return Ok(Sorted::Held(self.held));
        }
        self.spill()?;
        self.held = Vec::new();
        while self.files.len() > FAN_IN {
            let rest = self.files.split_off(FAN_IN);
            let path = self.scratch.file()?;
            let mut writer = Writer::new(&path)?;
            merge(&self.files, &mut |record: R| writer.put(record))?;
            writer.finish()?;
            for file in &self.files {
                std::fs::remove_file(file).map_err(|error| Error::io("remove", file, &error))?;
            }
            // the smallest come first: a file that was merged waits until all others were
            self.files = rest;
            self.files.push(path);
        }
        Ok(Sorted::Files(self.files, self.scratch))
    }
}

/// The records in as many pieces as there are threads, each in order.
fn sorted_pieces<R: Record>(records: &mut [R], threads: usize) -> Result<Vec<&[R]>> {
    let length = records.len().div_ceil(threads).max(FEWEST);
    std::thread::scope(|scope| {
        let mut pieces = records.chunks_mut(length);
        let own = pieces.next();
        for piece in pieces {
            threads::spawn(scope, || piece.sort_unstable())?;
        }
        own.into_iter().for_each(<[R]>::sort_unstable);
        Ok(())
    })?;
    Ok(records.chunks(length).collect())
}

/// Records in order, in memory or on disk.
pub(super) enum Sorted<R> {
    Held(Vec<R>),
    Files(Vec<PathBuf>, #[expect(dead_code, reason = "keeps the files")] Scratch),
}

impl<R: Record> Sorted<R> {
    /// Visits each of them.
    pub fn each(&self, visit: &mut dyn FnMut(R) -> Result<()>) -> Result<()> {
        match self {
            Self::Held(records) => records.iter().try_for_each(|record| visit(*record)),
            Self::Files(files, _) => merge(files, visit),
        }
    }

    /// The path of one file that holds them all.
    pub fn into_file(self, scratch: &Scratch) -> Result<PathBuf> {
        let path = scratch.file()?;
        let mut writer = Writer::new(&path)?;
        self.each(&mut |record| writer.put(record))?;
        writer.finish()?;
        Ok(path)
    }
}

fn merge<R: Record>(files: &[PathBuf], visit: &mut dyn FnMut(R) -> Result<()>) -> Result<()> {
    let mut readers = Vec::new();
    let mut heap = BinaryHeap::new();
    for file in files {
        let mut reader = Reader::new(file)?;
        if let Some(record) = reader.next()? {
            heap.push(Reverse((record, readers.len())));
        }
        readers.push(reader);
    }
    while let Some(mut top) = heap.peek_mut() {
        let Reverse((record, reader)) = &mut *top;
        visit(*record)?;
        match readers[*reader].next()? {
            Some(next) => *record = next,
            None => drop(std::collections::binary_heap::PeekMut::pop(top)),
        }
    }
    Ok(())
}

struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Writer {
    fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| cannot_write(path, &error))?;
        Ok(Self { file: BufWriter::with_capacity(BUFFER, file), path: path.into(), bytes: Vec::new() })
    }

    fn put<R: Record>(&mut self, record: R) -> Result<()> {
        self.bytes.clear();
        record.put(&mut self.bytes);
        self.file.write_all(&self.bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|error| cannot_write(&self.path, &error))
    }
}

struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    left: u64,
}

impl Reader {
    fn new(path: &Path) -> Result<Self> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (left, file) = opened.map_err(|error| Error::io("read", path, &error))?;
        Ok(Self { file: BufReader::with_capacity(BUFFER, file), path: path.into(), left })
    }

    fn next<R: Record>(&mut self) -> Result<Option<R>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut bytes = [0; 20];
        let bytes = &mut bytes[..R::BYTES];
        self.file.read_exact(bytes).map_err(|error| Error::io("read", &self.path, &error))?;
        self.left -= R::BYTES as u64;
        Ok(Some(R::take(bytes)))
    }
}

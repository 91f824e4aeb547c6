//! A file that many threads fill at once, and the hash of what it will hold.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::error::{write_error, Error, Result};

/// The file: any thread writes its own range.
pub(super) struct PositionedFile {
    file: File,
    path: PathBuf,
    /// Bytes of a header before the payload.
    base: u64,
}

/// Who writes where: only ever touched in order.
#[derive(Clone)]
pub(super) struct Tally {
    pub length: u64,
    hash: Xxh3,
}

impl Tally {
    pub fn new() -> Self {
        Self { length: 0, hash: Xxh3::new() }
    }

    /// Takes the next `bytes` into account and returns where they belong.
    pub fn append(&mut self, bytes: &[u8]) -> u64 {
        let at = self.length;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        at
    }

    pub fn digest(&self) -> String {
        format!("{:032x}", self.hash.digest128())
    }
}

impl PositionedFile {
    /// Opens the file, made where it is missing, and leaves what it holds.
    pub fn open(path: PathBuf, base: u64) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| write_error("write", &path, &error))?;
        Ok(Self { file, path, base })
    }

    pub fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(bytes, self.base + at).map_err(|error| self.failed("write", &error))?;
        self.begin_writeback(self.base + at, bytes.len());
        Ok(())
    }

    /// Lets the disk begin while the next blocks are encoded, so that little is left for the sync at the end. Waiting
    /// for 28 MB at the end took 90 to 700 ms here, as long as encoding what had made them.
    fn begin_writeback(&self, place: u64, length: usize) {
        #[cfg(target_os = "linux")]
        // SAFETY: the descriptor is open for as long as `file` lives; no memory is passed.
        unsafe {
            use std::os::fd::AsRawFd;
            libc::sync_file_range(self.file.as_raw_fd(), place as i64, length as i64, libc::SYNC_FILE_RANGE_WRITE);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (place, length);
    }

    pub fn write_header(&self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, 0).map_err(|error| self.failed("write", &error))
    }

    /// Cuts the file behind `length` bytes of payload.
    pub fn truncate(&self, length: u64) -> Result<()> {
        let end = if length == 0 { 0 } else { self.base + length };
        self.file.set_len(end).map_err(|error| self.failed("write", &error))
    }

    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| self.failed("sync", &error))
    }

    /// The tally of the first `length` bytes of payload, if they are there and hash to `expected`.
    pub fn recall(&self, length: u64, expected: &str) -> Result<Option<Tally>> {
        let mut tally = Tally::new();
        let mut buffer = vec![0; 1 << 20];
        while tally.length < length {
            let wanted = (length - tally.length).min(buffer.len() as u64) as usize;
            let read = self.file.read_at(&mut buffer[..wanted], self.base + tally.length);
            let read = read.map_err(|error| Error::io("read", &self.path, &error))?;
            if read == 0 {
                return Ok(None);
            }
            tally.append(&buffer[..read]);
        }
        Ok((tally.digest() == expected).then_some(tally))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, doing: &str, error: &std::io::Error) -> Error {
        write_error(doing, &self.path, error)
    }
}

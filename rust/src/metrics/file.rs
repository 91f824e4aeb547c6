//! A metrics.jsonl that may grow while it is looked at.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::curve::{Curve, Points, Sight, Standing};
use super::index;
use super::table::Table;
use crate::error::{shown, Error, Result};

/// From so many bytes of new lines on an index is written: less is read in a hundredth of a second.
const WORTH_AN_INDEX: usize = 4 << 20;
const INDEX: &str = "idx";

/// The columns of a file's whole lines; a last one that is still being written is left out.
pub struct Metrics {
    path: PathBuf,
    table: Table,
    standing: Option<Standing>,
    bytes: u64,
    file: u64,
}

impl Metrics {
    /// Reads the file, or the index beside it and what was added since.
    pub fn open(path: &Path, with_index: bool) -> Result<Self> {
        let mut opened = Self { path: path.into(), table: Table::default(), standing: None, bytes: 0, file: 0 };
        opened.read_all(with_index)?;
        Ok(opened)
    }

    fn read_all(&mut self, with_index: bool) -> Result<()> {
        let failed = |error: io::Error| Error::io("read", &self.path, &error);
        let file = File::open(&self.path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let map = mapped(&file, about.len()).map_err(failed)?;
        let text = map.as_deref().unwrap_or_default();
        let beside = self.path.with_extension(INDEX);
        let changed = changed(&about);
        let whole = memchr::memrchr(b'\n', text).map_or(0, |end| end + 1);
        let found = if with_index { index::read(&beside, &text[..whole], changed) } else { None };
        let (table, done) = found.unwrap_or_default();
        (self.table, self.file) = (table, about.ino());
        self.take(&text[done..whole])?;
        self.bytes = whole as u64;
        if with_index && whole - done >= WORTH_AN_INDEX {
            index::write(&beside, &self.table, &text[..whole], changed);
        }
        Ok(())
    }

    /// Reads what was added since; all of it where lines were taken back. Returns whether anything is new.
    pub fn refresh(&mut self) -> Result<bool> {
        let failed = |error: io::Error| Error::io("read", &self.path, &error);
        let file = File::open(&self.path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if about.ino() != self.file || about.len() < self.bytes {
            self.standing = None;
            return self.read_all(true).map(|()| true);
        }
        if about.len() == self.bytes {
            return Ok(false);
        }
        let text = read_from(file, self.bytes, about.len() - self.bytes).map_err(failed)?;
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
        self.take(&text[..whole])?;
        self.bytes += whole as u64;
        Ok(whole > 0)
    }

    fn take(&mut self, text: &[u8]) -> Result<()> {
        let mut rest = text;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            if self.table.read(line).is_err() {
                let (name, number) = (shown(&self.path), self.table.lines + 1);
                return Err(
                    Error::data(format!("{name}: line {number} is no record")).hint("remove the line, or the file")
                );
            }
            rest = &rest[end + 1..];
        }
        if !text.is_empty() {
            self.standing = None;
        }
        Ok(())
    }

    pub fn keys(&self) -> Vec<&str> {
        self.table.columns.iter().map(|column| column.key.as_str()).collect()
    }

    pub fn lines(&self) -> u32 {
        self.table.lines
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The points of a key over another, in the order of their lines; with `gone`, those that were taken back instead.
    pub fn curve(&mut self, key: &str, over: &str, gone: bool) -> Curve {
        self.points(key, over, gone).map(|points| points.curve()).unwrap_or_default()
    }

    /// Those of the points that are drawn.
    pub fn drawn(&mut self, key: &str, over: &str, gone: bool, sight: Sight) -> Curve {
        self.points(key, over, gone).map(|points| points.drawn(sight)).unwrap_or_default()
    }

    /// The least and the greatest x of a curve; None of nothing.
    pub fn range(&mut self, key: &str, over: &str) -> Option<(f64, f64)> {
        self.points(key, over, false)?.range()
    }

    /// The sum of a key in each of so many equal parts of a range of another.
    pub fn sums(&mut self, key: &str, over: &str, parts: usize, low: f64, high: f64) -> Vec<f64> {
        self.points(key, over, false).map_or_else(|| vec![0.0; parts], |points| points.sums(parts, low, high))
    }

    fn points(&mut self, key: &str, over: &str, gone: bool) -> Option<Points<'_>> {
        let standing = self.standing.get_or_insert_with(|| Standing::of(&self.table));
        standing.points(&self.table, key, over, gone)
    }

    /// The steps that the run went on with where its lines go back.
    pub fn cuts(&mut self) -> Vec<f64> {
        self.standing.get_or_insert_with(|| Standing::of(&self.table)).cuts.clone()
    }
}

fn changed(about: &Metadata) -> u64 {
    about.mtime() as u64 * 1_000_000_000 + about.mtime_nsec() as u64
}

/// A file as memory; None of an empty one.
fn mapped(file: &File, length: u64) -> io::Result<Option<Mmap>> {
    // SAFETY: the bytes are read as bytes. Lines are appended; to take some back, the file is replaced by another.
    (length > 0).then(|| unsafe { Mmap::map(file) }).transpose()
}

/// A part of a file; less where it ends before.
fn read_from(mut file: File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut text)?;
    Ok(text)
}

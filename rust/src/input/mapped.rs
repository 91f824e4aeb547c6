//! Files mapped into memory, whose pages are given back once read.

use std::fs::File;
use std::ops::{Deref, Range};
use std::sync::Arc;

use memmap2::Mmap;

use super::SourceFile;
use crate::error::{Error, Result};

/// A whole file, mapped read-only.
pub struct Mapping {
    map: Option<Mmap>,
}

impl Mapping {
    pub fn open(file: &SourceFile) -> Result<Arc<Self>> {
        let path = file.place.path();
        let opened = File::open(path).map_err(|error| Error::io("read", path, &error))?;
        let length = opened.metadata().map_err(|error| Error::io("read", path, &error))?.len();
        if length != file.size {
            return Err(Error::data(format!("{} was changed while it was read", file.name))
                .hint("run again with --force once it stays as it is"));
        }
        if length == 0 {
            return Ok(Arc::new(Self { map: None }));
        }
        // SAFETY: the bytes are only ever read as bytes. A file that another process truncates meanwhile ends this
        // process with SIGBUS, as it would any reader of a mapping; complete units on disk survive that.
        let map = unsafe { Mmap::map(&opened) }.map_err(|error| Error::io("map", path, &error))?;
        Ok(Arc::new(Self { map: Some(map) }))
    }

    /// Gives the pages that lie wholly in `range` back to the page cache. They can be read again.
    pub fn release(&self, range: Range<usize>) {
        const PAGE: usize = 4096;
        let Some(map) = &self.map else { return };
        // a fault maps the pages around it too, 64 KiB at a time: those before the range were given back already
        let start = range.start.saturating_sub(16 * PAGE).next_multiple_of(PAGE);
        let end = if range.end == map.len() { range.end } else { range.end / PAGE * PAGE };
        if start < end {
            // SAFETY: the mapping is file-backed, shared and read-only: dropped pages are read back when touched.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

/// A run of bytes: a range of a mapped file, or a buffer.
pub enum Text {
    Mapped { map: Arc<Mapping>, range: Range<usize> },
    Owned(Vec<u8>),
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped { map, range } => &map[range.clone()],
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Self::Mapped { map, range } = self {
            map.release(range.clone());
        }
    }
}

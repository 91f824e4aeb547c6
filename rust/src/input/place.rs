//! Where a source lies: here, as a file, or elsewhere, read by ranges.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::error::{Error, Result};

type Read = dyn Fn(u64, u64) -> Result<Bytes> + Send + Sync;

/// A file that lies elsewhere. Any range of it can be asked for, by several threads at once.
pub struct Remote {
    /// What a user would call it.
    pub name: String,
    /// Its own path there, whose suffix says what it holds.
    pub path: PathBuf,
    pub size: u64,
    /// What tells it from another content.
    pub identity: String,
    /// The same file on this machine, which is read in its place.
    pub copy: Option<PathBuf>,
    read: Box<Read>,
    /// The end of a parquet file, which says where the rest lies.
    tail: OnceLock<(u64, Bytes)>,
}

/// Bytes at the end of a parquet file that are asked for at once: the whole footer of most.
const TAIL: u64 = 64 << 10;

impl Remote {
    /// `read` takes a start and a length.
    pub fn new(
        name: String,
        path: PathBuf,
        size: u64,
        identity: String,
        read: impl Fn(u64, u64) -> Result<Bytes> + Send + Sync + 'static,
    ) -> Self {
        Self { name, path, size, identity, copy: None, read: Box::new(read), tail: OnceLock::new() }
    }

    /// The same with a copy on this machine.
    #[must_use]
    pub fn with_copy(self, copy: Option<PathBuf>) -> Self {
        Self { copy, ..self }
    }

    /// Exactly these bytes.
    pub fn read(&self, start: u64, length: u64) -> Result<Bytes> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        let bytes = (self.read)(start, length)?;
        if bytes.len() as u64 != length {
            return Err(Error::data(format!(
                "{}: asked for {length} bytes at {start}, and got {}",
                self.name,
                bytes.len()
            ))
            .hint("run the same command again; if it stays so, what serves the file is at fault"));
        }
        Ok(bytes)
    }

    /// The footer of a parquet file and where it begins; asked for once, whoever reads the file.
    pub(super) fn tail(&self) -> Result<&(u64, Bytes)> {
        if let Some(tail) = self.tail.get() {
            return Ok(tail);
        }
        let start = self.size.saturating_sub(TAIL);
        let mut bytes = self.read(start, self.size - start)?;
        let mut begins = start;
        if let Some((rest, b"PAR1")) = bytes.split_last_chunk::<4>() {
            let length = rest.last_chunk::<4>().map_or(0, |length| u64::from(u32::from_le_bytes(*length)));
            let wanted = self.size.saturating_sub(length + 8);
            if wanted < start && length + 8 <= self.size {
                bytes = [self.read(wanted, start - wanted)?, bytes].concat().into();
                begins = wanted;
            }
        }
        Ok(self.tail.get_or_init(|| (begins, bytes)))
    }
}

/// Where a file lies. It says nothing of what the file holds, so that any two are equal.
#[derive(Clone)]
pub enum Place {
    Here(PathBuf),
    Elsewhere(Arc<Remote>),
}

impl Place {
    /// Its path here or there.
    pub fn path(&self) -> &Path {
        match self {
            Self::Here(path) => path,
            Self::Elsewhere(remote) => &remote.path,
        }
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Here(PathBuf::new())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(path) => path.fmt(f),
            Self::Elsewhere(remote) => f.write_str(&remote.name),
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// What a caller names as a source.
#[derive(Clone)]
pub enum Source {
    /// A file, a folder, a glob, or `-` for stdin.
    Named(OsString),
    Elsewhere(Arc<Remote>),
}

impl Source {
    pub fn named(names: &[impl AsRef<OsStr>]) -> Vec<Self> {
        names.iter().map(|name| Self::Named(name.as_ref().to_owned())).collect()
    }
}

//! The bytes of a parquet file for its reader: of a file here, or of the column chunks needed of one elsewhere.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::ahead::{Ahead, Stream};
use super::{Options, Place, Remote};
use crate::error::{Error, Result};

#[derive(Clone)]
pub(super) enum Chunks {
    File(Arc<File>),
    Remote(Arc<Elsewhere>),
}

pub(super) struct Elsewhere {
    remote: Arc<Remote>,
    /// One for each column that is read in order, or one for all.
    columns: Mutex<Vec<Arc<Ahead>>>,
    /// What the source of the bytes said: parquet's errors are no place for it.
    failed: Mutex<Option<Error>>,
}

impl Chunks {
    pub fn open(place: &Place) -> Result<Self> {
        Ok(match place {
            Place::Here(path) => {
                Self::File(Arc::new(File::open(path).map_err(|error| Error::io("read", path, &error))?))
            }
            Place::Elsewhere(remote) => {
                remote.tail()?;
                let (columns, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
                Self::Remote(Arc::new(Elsewhere { remote: remote.clone(), columns, failed }))
            }
        })
    }

    /// These ranges are going to be read: those of one column, or of several that are held until they are let go.
    pub fn expect(&self, ranges: Vec<Range<u64>>, options: &Options, holds: bool) {
        if let Self::Remote(from) = self {
            let ahead = Ahead::new(&from.remote, ranges, options, holds);
            from.columns.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(ahead));
        }
    }

    /// Nothing that lies before a place is read any more.
    pub fn let_go(&self, at: u64) {
        if let Self::Remote(from) = self {
            from.columns.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|ahead| ahead.let_go(at));
        }
    }

    /// Why no bytes came, where the file itself is not at fault.
    pub fn failure(&self) -> Option<Error> {
        match self {
            Self::File(_) => None,
            Self::Remote(from) => from.failed.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

impl Elsewhere {
    fn at(&self, at: u64) -> Option<Arc<Ahead>> {
        let columns = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        columns.iter().find(|ahead| ahead.covers(at)).cloned()
    }

    fn keep(&self, error: Error) -> ParquetError {
        let said = error.message.clone();
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        ParquetError::External(said.into())
    }

    fn tail(&self, start: u64) -> Option<Bytes> {
        let (begins, bytes) = self.remote.tail().ok()?;
        let within = usize::try_from(start.checked_sub(*begins)?).ok()?;
        (within <= bytes.len()).then(|| bytes.slice(within..))
    }
}

impl Length for Chunks {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.metadata().map_or(0, |metadata| metadata.len()),
            Self::Remote(from) => from.remote.size,
        }
    }
}

pub(super) enum Reading {
    File(BufReader<File>),
    Tail(bytes::buf::Reader<Bytes>),
    Ahead(Stream, Arc<Elsewhere>),
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(buffer),
            Self::Tail(tail) => tail.read(buffer),
            Self::Ahead(stream, from) => stream.read(buffer).map_err(|error| match super::ahead::cause(error) {
                Ok(cause) => io::Error::other(from.keep(cause)),
                Err(error) => error,
            }),
        }
    }
}

impl ChunkReader for Chunks {
    type T = Reading;

    fn get_read(&self, start: u64) -> Result<Reading, ParquetError> {
        let from = match self {
            Self::File(file) => return Ok(Reading::File(file.get_read(start)?)),
            Self::Remote(from) => from,
        };
        // a column that is read ahead is read in order, so that the tail comes second
        if let Some(ahead) = from.at(start) {
            return Ok(Reading::Ahead(Stream::new(ahead, start, from.remote.size), from.clone()));
        }
        let tail = from.tail(start).ok_or_else(|| ParquetError::EOF(format!("byte {start} is in no column")))?;
        Ok(Reading::Tail(tail.reader()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let from = match self {
            Self::File(file) => return file.get_bytes(start, length),
            Self::Remote(from) => from,
        };
        if let Some(ahead) = from.at(start) {
            return ahead.bytes(start, length).map_err(|error| from.keep(error));
        }
        let short = || ParquetError::EOF(format!("{length} bytes at {start} are in no column"));
        from.tail(start).filter(|tail| tail.len() >= length).map(|tail| tail.slice(..length)).ok_or_else(short)
    }
}

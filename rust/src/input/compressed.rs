//! gzip and zstd files as streams of text.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use super::ahead::{self, Ahead};
use super::{Compression, Options, Place, SourceFile};
use crate::error::{Error, Result};

pub(super) type Stream = Box<dyn Read + Send>;

/// The text of a file from byte `start` of it on.
pub(super) fn open(file: &SourceFile, start: u64, options: &Options) -> Result<Stream> {
    let is_plain = file.compression == Compression::None;
    let bytes = raw(file, if is_plain { start } else { 0 }, options)?;
    let mut stream = unpacked(bytes, file)?;
    if !is_plain {
        pass(&mut stream, start, file, options)?;
    }
    Ok(stream)
}

/// Leaves out the first `count` bytes of a stream.
pub(super) fn pass(stream: &mut Stream, count: u64, file: &SourceFile, options: &Options) -> Result<()> {
    let (mut done, mut passed) = (0, Vec::new());
    while done < count {
        options.check()?;
        passed.clear();
        let ended = fill(stream, &mut passed, (count - done).min(1 << 20) as usize, file, done)?;
        done += passed.len() as u64;
        if ended {
            break;
        }
    }
    Ok(())
}

/// The bytes of a file as they lie.
fn raw(file: &SourceFile, start: u64, options: &Options) -> Result<Box<dyn BufRead + Send>> {
    const BUFFER: usize = 256 << 10;
    Ok(match &file.place {
        Place::Here(path) => {
            let opened = File::open(path).and_then(|mut opened| opened.seek(SeekFrom::Start(start)).map(|_| opened));
            let opened = opened.map_err(|error| Error::io("read", path, &error))?;
            Box::new(BufReader::with_capacity(BUFFER, opened))
        }
        Place::Elsewhere(remote) => {
            let ahead = Ahead::new(remote, std::iter::once(start..remote.size), options, false);
            Box::new(BufReader::with_capacity(BUFFER, ahead::Stream::new(Arc::new(ahead), start, remote.size)))
        }
    })
}

/// Windows of zstd up to 2 GB, as `zstd --long=31` makes them.
const LARGEST_WINDOW: u32 = 31;

/// The text of bytes that are packed as the file's name says.
pub(super) fn unpacked(bytes: Box<dyn BufRead + Send>, file: &SourceFile) -> Result<Stream> {
    Ok(match file.compression {
        Compression::None => Box::new(bytes),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                decoder.window_log_max(LARGEST_WINDOW)?;
                Ok(decoder)
            });
            Box::new(decoder.map_err(|error| unreadable(file, 0, error))?)
        }
    })
}

/// Bytes of text for each byte of an archive that no text comes to, and how much is unpacked before that is asked.
const LARGEST_RATIO: u64 = 200;
const UNPACKED: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// The same, of bytes that unpack to no more than text does: an archive may be made to have no end.
pub(super) fn unpacked_within_reason(bytes: Box<dyn BufRead + Send>, file: &SourceFile) -> Result<Stream> {
    if file.compression == Compression::None {
        return unpacked(bytes, file);
    }
    let taken = Arc::new(AtomicU64::new(0));
    let counted = BufReader::with_capacity(256 << 10, Counted { bytes, taken: taken.clone() });
    let stream = unpacked(Box::new(counted), file)?;
    Ok(Box::new(WithinReason { stream, taken, given: 0, name: file.name.clone() }))
}

struct Counted {
    bytes: Box<dyn BufRead + Send>,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

struct WithinReason {
    stream: Stream,
    taken: Arc<AtomicU64>,
    given: u64,
    name: String,
}

impl Read for WithinReason {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.given += read as u64;
        let taken = self.taken.load(Ordering::Relaxed).max(1);
        if self.given > UNPACKED && self.given / taken > LARGEST_RATIO {
            let said = format!("{} unpacks to more than {LARGEST_RATIO} times its bytes, as no text does", self.name);
            let error = Error::data(said).hint("if it is what it should be, unpack it and name the folder");
            return Err(std::io::Error::other(error));
        }
        Ok(read)
    }
}

/// An archive from byte `start` of it unpacked on.
pub(super) fn open_archive(file: &SourceFile, start: u64, options: &Options) -> Result<Stream> {
    let is_packed = file.compression != Compression::None;
    let bytes = raw(file, if is_packed { 0 } else { start }, options)?;
    let mut stream = unpacked_within_reason(bytes, file)?;
    if is_packed {
        pass(&mut stream, start, file, options)?;
    }
    Ok(stream)
}

/// Appends up to `count` bytes to `buffer`; true at the end of the stream. `done` bytes of text came before.
pub(super) fn fill(
    stream: &mut Stream,
    buffer: &mut Vec<u8>,
    count: usize,
    file: &SourceFile,
    done: u64,
) -> Result<bool> {
    buffer.reserve(count);
    let before = buffer.len();
    match stream.take(count as u64).read_to_end(buffer) {
        Ok(read) => Ok(read < count),
        Err(error) => Err(unreadable(file, done + (buffer.len() - before) as u64, error)),
    }
}

/// Why a file is read no further after so many bytes of text.
pub(super) fn unreadable(file: &SourceFile, after: u64, error: std::io::Error) -> Error {
    let error = match ahead::cause(error) {
        Ok(cause) => return cause,
        Err(error) => error,
    };
    let what = if file.compression == Compression::None {
        Error::io("read", file.place.path(), &error).message
    } else if error.kind() == std::io::ErrorKind::UnexpectedEof || error.to_string().contains("incomplete") {
        format!("{} is cut off: its compressed data ends early, after {after} bytes of text", file.name)
    } else {
        format!("{} is damaged after {after} bytes of text: {error}", file.name)
    };
    Error::data(what).hint("fetch or compress the file again")
}

//! gzip and zstd files as streams of text.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::ahead::{self, Ahead};
use super::{Compression, Options, Place, SourceFile};
use crate::error::{Error, Result};

pub(super) type Stream = Box<dyn Read + Send>;

/// The text of a file from byte `start` of it on.
pub(super) fn open(file: &SourceFile, start: u64, options: &Options) -> Result<Stream> {
    let is_plain = file.compression == Compression::None;
    let bytes = raw(file, if is_plain { start } else { 0 }, options)?;
    let mut stream = unpacked(bytes, file.compression).map_err(|error| unreadable(file, 0, error))?;
    if !is_plain {
        let mut done = 0;
        let mut passed = Vec::new();
        while done < start {
            options.check()?;
            passed.clear();
            let count = (start - done).min(1 << 20) as usize;
            let ended = fill(&mut stream, &mut passed, count, file, done)?;
            done += passed.len() as u64;
            if ended {
                break;
            }
        }
    }
    Ok(stream)
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
            let ahead = Ahead::new(remote, vec![start..remote.size], options.check.clone());
            Box::new(BufReader::with_capacity(BUFFER, ahead::Stream::new(Arc::new(ahead), start, remote.size)))
        }
    })
}

/// Windows of zstd up to 2 GB, as `zstd --long=31` makes them.
const LARGEST_WINDOW: u32 = 31;

fn unpacked(bytes: Box<dyn BufRead + Send>, compression: Compression) -> std::io::Result<Stream> {
    Ok(match compression {
        Compression::None => Box::new(bytes),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(bytes)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            Box::new(decoder)
        }
    })
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
fn unreadable(file: &SourceFile, after: u64, error: std::io::Error) -> Error {
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

//! gzip and zstd files as streams of text.

use std::fs::File;
use std::io::{BufReader, Read};

use super::{Compression, SourceFile};
use crate::error::{Error, Result};

pub(super) type Stream = Box<dyn Read + Send>;

pub(super) fn open(file: &SourceFile) -> Result<Stream> {
    let opened = File::open(&file.path).map_err(|error| Error::io("read", &file.path, &error))?;
    let buffered = BufReader::with_capacity(256 << 10, opened);
    Ok(match file.compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Compression::Zstd => {
            let decoder = zstd::stream::read::Decoder::with_buffer(buffered);
            Box::new(decoder.map_err(|error| Error::io("decompress", &file.path, &error))?)
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
        Err(error) => {
            let after = done + (buffer.len() - before) as u64;
            let what = if file.compression == Compression::None {
                Error::io("read", &file.path, &error).message
            } else if error.kind() == std::io::ErrorKind::UnexpectedEof || error.to_string().contains("incomplete") {
                format!("{} is cut off: its compressed data ends early, after {after} bytes of text", file.name)
            } else {
                format!("{} is damaged after {after} bytes of text: {error}", file.name)
            };
            Err(Error::data(what).hint("fetch or compress the file again"))
        }
    }
}

//! The files of a tar archive, one after another: ustar, GNU's and pax's long names and sizes.

use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::compressed::{unreadable, Stream};
use super::{Compression, SourceFile};
use crate::error::{quoted, Error, Result};

/// An unpacked archive that is read from its beginning to its end, in parts.
pub(super) struct Tape {
    file: SourceFile,
    stream: Stream,
    /// Bytes that were read.
    at: u64,
}

pub(super) type Shared = Arc<Mutex<Tape>>;

pub(super) fn lock(tape: &Shared) -> MutexGuard<'_, Tape> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file within an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub size: u64,
    /// Where its header begins.
    pub header: u64,
    /// Where its bytes begin.
    pub start: u64,
}

const BLOCK: u64 = 512;
/// Bytes that a long name or the records of pax may have.
const LONGEST: u64 = 1 << 20;

impl Tape {
    pub fn new(file: SourceFile, stream: Stream, at: u64) -> Self {
        Self { file, stream, at }
    }

    /// The next plain file; links, devices and folders are passed over. None at the end.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        let header = self.at;
        let (mut long, mut size_said) = (None, None);
        loop {
            let Some(block) = self.block()? else {
                // whether what is packed is whole is known at its end
                if self.file.compression != Compression::None {
                    let rest = std::io::copy(&mut self.stream, &mut std::io::sink());
                    rest.map_err(|error| unreadable(&self.file, self.at, error))?;
                }
                return Ok(None);
            };
            let kind = block[156];
            let size = match (size_said, kind) {
                (Some(size), b'0' | b'\0' | b'7') => size,
                _ => number(&block[124..136]).ok_or_else(|| self.damaged("a size is no number"))?,
            };
            match kind {
                b'L' => long = Some(until_zero(&self.small(size)?).to_vec()),
                b'x' => {
                    let records = self.small(size)?;
                    for (key, value) in pax(&records).ok_or_else(|| self.damaged("a pax header is broken"))? {
                        match key {
                            b"path" => long = Some(value.to_vec()),
                            b"size" => size_said = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok()),
                            key if key.starts_with(b"GNU.sparse.") => {
                                return Err(sparse(&self.file, &String::from_utf8_lossy(&long.unwrap_or_default())));
                            }
                            _ => {}
                        }
                    }
                }
                b'0' | b'\0' | b'7' | b'S' => {
                    let name = long.unwrap_or_else(|| name_of(&block));
                    let name = String::from_utf8_lossy(&name).into_owned();
                    if kind == b'S' {
                        return Err(sparse(&self.file, &name));
                    }
                    let bare: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
                    if bare.contains(&"..") {
                        return Err(Error::data(format!(
                            "{}: the name of {name:?} leads out of the archive",
                            self.file.name
                        ))
                        .hint("pack it again without that file"));
                    }
                    // an old archive says by a slash that it is a folder
                    let is_folder = name.ends_with('/') && kind != b'7';
                    if is_folder || bare.is_empty() {
                        self.pass(padded(size))?;
                        (long, size_said) = (None, None);
                        continue;
                    }
                    return Ok(Some(Entry { name: bare.join("/"), size, header, start: self.at }));
                }
                // links, devices and folders have no bytes, whatever size they say
                b'1'..=b'6' => (long, size_said) = (None, None),
                _ => {
                    self.pass(padded(size))?;
                    if !matches!(kind, b'K' | b'g') {
                        (long, size_said) = (None, None);
                    }
                }
            }
        }
    }

    /// Goes on behind an entry, however much of it was read.
    pub fn leave(&mut self, entry: &Entry) -> Result<()> {
        let end = entry.start.saturating_add(padded(entry.size));
        self.pass(end.saturating_sub(self.at))
    }

    fn pass(&mut self, count: u64) -> Result<()> {
        let passed = std::io::copy(&mut self.stream.by_ref().take(count), &mut std::io::sink());
        let passed = passed.map_err(|error| unreadable(&self.file, self.at, error))?;
        self.at += passed;
        if passed < count {
            return Err(self.cut_off());
        }
        Ok(())
    }

    fn cut_off(&self) -> Error {
        self.damaged("it is cut off")
    }

    fn damaged(&self, what: &str) -> Error {
        Error::data(format!(
            "{} is no sound tar archive: {what}, before byte {} of it unpacked",
            self.file.name, self.at
        ))
        .hint("fetch or pack the file again")
    }

    /// The next header; None at the end: a block of zeros, or nothing.
    fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>> {
        let bytes = self.bytes(BLOCK)?;
        if bytes.is_empty() || bytes.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let Ok(block) = <[u8; BLOCK as usize]>::try_from(bytes) else { return Err(self.cut_off()) };
        let sums = |signed: bool| -> i64 {
            let byte = |(place, &byte): (usize, &u8)| match (place, signed) {
                (148..156, _) => 32,
                (_, true) => i64::from(byte as i8),
                _ => i64::from(byte),
            };
            block.iter().enumerate().map(byte).sum()
        };
        let said = number(&block[148..156]).and_then(|sum| i64::try_from(sum).ok());
        if said != Some(sums(false)) && said != Some(sums(true)) {
            return Err(self.damaged("the checksum of a header is wrong"));
        }
        Ok(Some(block))
    }

    /// Up to so many bytes: fewer at the end of the file.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.stream.by_ref().take(count).read_to_end(&mut bytes);
        self.at += read.map_err(|error| unreadable(&self.file, self.at, error))? as u64;
        Ok(bytes)
    }

    /// What belongs to a header.
    fn small(&mut self, size: u64) -> Result<Vec<u8>> {
        if size > LONGEST {
            return Err(self.damaged("a name is longer than a megabyte"));
        }
        let mut bytes = self.bytes(padded(size))?;
        if (bytes.len() as u64) < padded(size) {
            return Err(self.cut_off());
        }
        bytes.truncate(size as usize);
        Ok(bytes)
    }
}

fn sparse(file: &SourceFile, name: &str) -> Error {
    Error::data(format!("{}: {name:?} in it is packed as sparse, which is not read", file.name))
        .hint(format!("unpack it with tar -xf {}, and name the folder", quoted(&file.name)))
}

fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

fn name_of(block: &[u8; BLOCK as usize]) -> Vec<u8> {
    let (name, prefix) = (until_zero(&block[..100]), until_zero(&block[345..500]));
    // GNU keeps times where ustar has the prefix
    if prefix.is_empty() || &block[257..263] != b"ustar\0" {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

/// An octal number between blanks, or a binary one that its first bit announces; None of what is negative or broken.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let mut value = u128::from(field[0] & 0x7f);
        for &byte in &field[1..] {
            value = value << 8 | u128::from(byte);
        }
        return u64::try_from(value).ok();
    }
    let digits = until_zero(field).trim_ascii();
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

/// The records of a pax header; None where it is broken.
fn pax(mut records: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while !until_zero(records).is_empty() {
        let space = memchr::memchr(b' ', records)?;
        let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = memchr::memchr(b'=', record)?;
        found.push((&record[..equals], &record[equals + 1..]));
        records = &records[length..];
    }
    Some(found)
}

/// The bytes of an entry.
pub(super) struct Part {
    pub tape: Shared,
    pub left: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let mut tape = lock(&self.tape);
        let read = match tape.stream.read(&mut buffer[..most]) {
            Ok(read) if read > 0 => read,
            Ok(_) => return Err(std::io::Error::other(tape.cut_off())),
            Err(error) => return Err(std::io::Error::other(unreadable(&tape.file, tape.at, error))),
        };
        tape.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Whether an entry's name is one that a walked folder would offer: none of a hidden file or folder.
pub(super) fn is_shown(name: &str) -> bool {
    Path::new(name).components().all(|part| !part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

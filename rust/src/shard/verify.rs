//! Whether finished shards are what the manifest says: sizes, headers, hashes, ids in range, a sane index.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::files::is_shard_file;
use super::job::Header;
use super::manifest::{Manifest, Shard};
use super::read::{widen, Reader};
use super::writer::llmc_header;
use crate::error::{Error, Result};

/// What is wrong, and at which byte of which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    pub file: String,
    pub offset: u64,
    pub what: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    pub files: u64,
    pub bytes: u64,
    pub problems: Vec<Problem>,
}

/// Reads every byte of every shard. `check` is called for each megabyte or so, with the bytes done and all of them.
pub fn verify(folder: &Path, check: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Verified> {
    let reader = Reader::open(folder)?;
    let manifest = &reader.manifest;
    let shards: Vec<&Shard> = manifest.splits().into_iter().flat_map(|(_, split)| &split.shards).collect();
    let total = shards.iter().map(|shard| shard.bytes + shard.index_bytes).sum();
    let mut verified = Verified::default();
    for (name, split) in manifest.splits() {
        let sum: u64 = split.shards.iter().map(|shard| shard.tokens).sum();
        if sum != split.tokens {
            verified.report("manifest.json", 0, format!("{name} says {} tokens, its shards have {sum}", split.tokens));
        }
    }
    for name in strangers(folder, manifest) {
        verified.report(&name, 0, "the manifest does not know this shard".into());
    }
    for shard in shards {
        ids(folder, manifest, shard, &mut verified, &mut |bytes| check(bytes, total))?;
        index(folder, shard, &mut verified, &mut |bytes| check(bytes, total))?;
    }
    Ok(verified)
}

impl Verified {
    fn report(&mut self, file: &str, offset: u64, what: String) {
        self.problems.push(Problem { file: file.into(), offset, what });
    }

    /// Opens a file of the size that it should have, or reports it.
    fn open(&mut self, folder: &Path, name: &str, expected: u64) -> Result<Option<File>> {
        self.files += 1;
        let path = folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.report(name, 0, "the file is missing".into());
                return Ok(None);
            }
            Err(error) => return Err(Error::io("read", &path, &error)),
        };
        let size = file.metadata().map_err(|error| Error::io("read", &path, &error))?.len();
        if size != expected {
            self.report(name, size.min(expected), format!("the file has {size} bytes, the manifest says {expected}"));
        }
        Ok(Some(file))
    }
}

fn ids(
    folder: &Path,
    manifest: &Manifest,
    shard: &Shard,
    verified: &mut Verified,
    check: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let Some(mut file) = verified.open(folder, &shard.file, shard.bytes)? else { return Ok(()) };
    let failed = |error: std::io::Error| Error::io("read", &folder.join(&shard.file), &error);
    let mut offset = 0;
    if manifest.header == Header::Llmc {
        let mut header = Vec::new();
        file.by_ref().take(1024).read_to_end(&mut header).map_err(failed)?;
        // no header is right for more tokens than it can count
        let expected = llmc_header(manifest.dtype, shard.tokens).unwrap_or_default();
        if header != expected {
            let place = header.iter().zip(&expected).position(|(read, wanted)| read != wanted).unwrap_or(header.len());
            verified.report(&shard.file, place as u64, "the header is not llm.c's for these tokens".into());
        }
        offset = 1024;
    }
    let mut hash = Xxh3::new();
    let size = manifest.dtype.size();
    let mut seen_bad = false;
    read_through(&mut file, &mut |chunk| {
        hash.update(chunk);
        if !seen_bad {
            let bad = widen(manifest.dtype, chunk).position(|id| id >= manifest.vocab_size);
            if let Some((place, id)) = bad.and_then(|place| Some((place, widen(manifest.dtype, chunk).nth(place)?))) {
                seen_bad = true;
                let what = format!("id {id} is outside the vocabulary of {}", manifest.vocab_size);
                verified.report(&shard.file, offset + place as u64 * size, what);
            }
        }
        offset += chunk.len() as u64;
        verified.bytes += chunk.len() as u64;
        check(verified.bytes)
    })
    .map_err(|error| error.unwrap_or_else(failed))?;
    if format!("{:032x}", hash.digest128()) != shard.hash {
        verified.report(
            &shard.file,
            manifest.base(),
            "the ids are not those that were written: their hash differs".into(),
        );
    }
    Ok(())
}

fn index(
    folder: &Path,
    shard: &Shard,
    verified: &mut Verified,
    check: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<()> {
    let name = shard.index_file();
    let Some(mut file) = verified.open(folder, &name, shard.index_bytes)? else { return Ok(()) };
    let failed = |error: std::io::Error| Error::io("read", &folder.join(&name), &error);
    let mut hash = Xxh3::new();
    let (mut entries, mut last, mut sane) = (0u64, 0u64, true);
    read_through(&mut file, &mut |chunk| {
        hash.update(chunk);
        for entry in chunk.chunks_exact(8) {
            let start = entry.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
            if sane && (start < last || start > shard.tokens || (entries == 0 && start != 0)) {
                sane = false;
                let what = format!("entry {entries} is {start} after {last}, in a shard of {} tokens", shard.tokens);
                verified.report(&name, 8 * entries, what);
            }
            last = start;
            entries += 1;
        }
        verified.bytes += chunk.len() as u64;
        check(verified.bytes)
    })
    .map_err(|error| error.unwrap_or_else(failed))?;
    if sane && (entries != shard.documents + 1 || last != shard.tokens) {
        let what = format!(
            "{entries} entries end at {last}; the manifest says {} documents and {} tokens",
            shard.documents, shard.tokens
        );
        verified.report(&name, 8 * entries.saturating_sub(1), what);
    }
    if format!("{:032x}", hash.digest128()) != shard.index_hash {
        verified.report(&name, 0, "the index is not the one that was written: its hash differs".into());
    }
    Ok(())
}

/// A failure to read, or one of what was called.
enum Failure {
    Read(std::io::Error),
    Called(Error),
}

impl Failure {
    fn unwrap_or_else(self, failed: impl FnOnce(std::io::Error) -> Error) -> Error {
        match self {
            Self::Read(error) => failed(error),
            Self::Called(error) => error,
        }
    }
}

/// Calls with chunks of a megabyte, all but the last whole.
fn read_through(file: &mut File, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<(), Failure> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::Read(error)),
            }
        }
        if filled == 0 {
            return Ok(());
        }
        each(&buffer[..filled]).map_err(Failure::Called)?;
    }
}

/// Names in the folder that look like shards and that the manifest does not know.
fn strangers(folder: &Path, manifest: &Manifest) -> BTreeSet<String> {
    let known: BTreeSet<String> = manifest
        .splits()
        .into_iter()
        .flat_map(|(_, split)| &split.shards)
        .flat_map(|shard| [shard.file.clone(), shard.index_file()])
        .collect();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_shard_file(name))
        .filter(|name| !known.contains(name))
        .collect()
}

//! Documents of shards that stand, put together anew: copied as they are, in any order, into shards of their own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::inspect::widen;
use super::manifest::{Manifest, Shard, MANIFEST};
use super::merged::Merged;
use super::plan::{Dtype, Header};
use super::record::file_name;
use super::writer::LLMC_MOST;
use crate::error::{Error, Result};
use crate::files::{sync_folder, to_json, write_atomically};
use crate::input::Side;

/// A file of tokens, whoever wrote it.
pub struct Origin {
    pub path: PathBuf,
    /// Bytes before its ids.
    pub base: u64,
    pub dtype: Dtype,
    pub tokens: u64,
}

/// Files of tokens, one after another: a document may begin in one and end in another.
pub struct Tokens {
    origins: Vec<Origin>,
    files: Vec<File>,
    /// The number of each file's first token.
    begins: Vec<u64>,
}

impl Tokens {
    pub fn open(origins: Vec<Origin>) -> Result<Self> {
        let open = |origin: &Origin| File::open(&origin.path).map_err(|error| Error::io("read", &origin.path, &error));
        let files = origins.iter().map(open).collect::<Result<_>>()?;
        let begins = origins.iter().scan(0, |sum, origin| Some(std::mem::replace(sum, *sum + origin.tokens))).collect();
        Ok(Self { origins, files, begins })
    }

    /// Puts the ids from `start` on into `out`, in the width that they shall have.
    fn read(&self, start: u64, length: u64, dtype: Dtype, buffer: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let (mut at, end) = (start, start + length);
        // of files without tokens the last one begins where its successor does
        let mut number = self.begins.partition_point(|&begin| begin <= at).saturating_sub(1);
        while at < end {
            let Some(origin) = self.origins.get(number) else {
                return Err(Error::data(format!("there is no token {at}: the files end before it")));
            };
            let inside = at - self.begins[number];
            let count = (end - at).min(origin.tokens - inside);
            buffer.resize((count * origin.dtype.size()) as usize, 0);
            let place = origin.base + inside * origin.dtype.size();
            self.files[number].read_exact_at(buffer, place).map_err(|error| Error::io("read", &origin.path, &error))?;
            match (origin.dtype, dtype) {
                (Dtype::Uint16, Dtype::Uint32) => {
                    out.extend(widen(origin.dtype, buffer).flat_map(u32::to_le_bytes));
                }
                _ => out.extend_from_slice(buffer),
            }
            at += count;
            number += 1;
        }
        Ok(())
    }
}

/// A hash of each document's ids, the same for either width. `check` is told how many tokens are done.
pub fn hash_documents(
    tokens: &Tokens,
    documents: &[(u64, u64)],
    check: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<u64>> {
    let (mut buffer, mut ids, mut done) = (Vec::new(), Vec::new(), 0);
    let mut hashes = Vec::with_capacity(documents.len());
    for &(start, length) in documents {
        let mut hash = Xxh3::new();
        for at in (0..length).step_by(STEP as usize) {
            let count = STEP.min(length - at);
            tokens.read(start + at, count, Dtype::Uint32, &mut buffer, &mut ids)?;
            hash.update(&ids);
        }
        hashes.push(hash.digest());
        done += length;
        check(done)?;
    }
    Ok(hashes)
}

/// Tokens that are read at once of a long document.
const STEP: u64 = 1 << 20;

/// Where documents go, and how they are stored.
pub struct Target<'a> {
    pub folder: &'a Path,
    pub side: Side,
    pub dtype: Dtype,
    pub header: Header,
    /// A shard that holds so many tokens gets no more documents.
    pub shard_tokens: u64,
    /// Bytes of text that each id stands for; empty where that is not known.
    pub lengths: &'a [u32],
}

/// Writes documents, each by its first token and how many it has, as shards of their own; returns these, and the bytes
/// that all ids stand for together.
pub fn gather(
    tokens: &Tokens,
    documents: &[(u64, u64)],
    target: &Target<'_>,
    check: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<(Vec<Shard>, u64)> {
    let (mut shards, mut text, mut done) = (Vec::new(), 0, 0);
    let (mut buffer, mut ids) = (Vec::new(), Vec::new());
    let mut open: Option<Merged> = None;
    for &(start, length) in documents {
        let full = |shard: &Merged| {
            shard.tokens >= target.shard_tokens || (target.header == Header::Llmc && shard.tokens + length > LLMC_MOST)
        };
        if let Some(shard) = open.take_if(|shard| full(shard)) {
            shards.push(finish(shard, target, shards.len())?);
        }
        let shard = match &mut open {
            Some(shard) => shard,
            None => open.insert(Merged::create(target.folder, ".gathered", target.header, target.dtype)?),
        };
        tokens.read(start, length, target.dtype, &mut buffer, &mut ids)?;
        if !target.lengths.is_empty() {
            let bytes = |id: u32| u64::from(target.lengths.get(id as usize).copied().unwrap_or(0));
            text += widen(target.dtype, &ids).map(bytes).sum::<u64>();
        }
        shard.document(&ids)?;
        done += length;
        check(done)?;
    }
    if let Some(shard) = open {
        shards.push(finish(shard, target, shards.len())?);
    }
    Ok((shards, text))
}

fn finish(shard: Merged, target: &Target<'_>, number: usize) -> Result<Shard> {
    let place = |suffix: &str| target.folder.join(file_name(target.side, number, suffix));
    let made = shard.finish(&place("bin"), &place("idx"))?;
    Ok(Shard { file: file_name(target.side, number, "bin"), ..made })
}

/// Writes the manifest of a folder of shards that are all there, with the hashes of what lies beside them.
pub fn seal(folder: &Path, manifest: Value) -> Result<Manifest> {
    let manifest: Manifest = serde_json::from_value(manifest)
        .map_err(|error| Error::usage(format!("these shards have no such manifest: {error}")))?;
    let manifest = manifest.sealed(folder)?;
    sync_folder(folder)?;
    write_atomically(&folder.join(MANIFEST), &to_json(&manifest))?;
    Ok(manifest)
}

//! Whether finished shards are what the manifest says: sizes, headers, hashes, ids in range, a sane index.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::Xxh3;

use super::inspect::{widen, Reader};
use super::manifest::{hash_of, seal_of, Manifest, Shard, Source, Split, BESIDE, MANIFEST};
use super::plan::{Header, Job, JOB};
use super::record::is_shard_file;
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
    /// Whether the manifest has a seal: folders of earlier versions do not, and less of them can be checked.
    pub sealed: bool,
    pub problems: Vec<Problem>,
}

/// What the tokenizer beside the shards says, where it lies there and is the one that wrote them.
#[derive(Debug, Clone, Default)]
pub struct Lengths {
    /// Bytes of text that each id stands for; empty where a tokenizer does not keep every byte.
    pub of_ids: Vec<u32>,
}

/// Reads every byte of every shard, and holds the manifest against all that the folder says. `check` is called for
/// each megabyte or so, with the bytes done and all of them.
pub fn verify(folder: &Path, lengths: &Lengths, check: &mut dyn FnMut(u64, u64) -> Result<()>) -> Result<Verified> {
    let mut verified = Verified::default();
    let Some((manifest, value)) = verified.manifest(folder)? else { return Ok(verified) };
    let manifest = &manifest;
    let total = manifest.splits().iter().flat_map(|(_, split)| &split.shards).map(|s| s.bytes + s.index_bytes).sum();
    for name in strangers(folder, manifest) {
        verified.report(&name, 0, "the manifest does not know this shard".into());
    }
    let mut listed = BTreeSet::new();
    for (name, split) in manifest.splits() {
        let mut said = Said::default();
        for shard in &split.shards {
            if !listed.insert(&shard.file) {
                verified.report(MANIFEST, 0, format!("{} is listed twice", shard.file));
            }
            let read = ids(folder, manifest, shard, lengths, &mut verified, &mut |bytes| check(bytes, total))?;
            index(folder, shard, &mut verified, &mut |bytes| check(bytes, total))?;
            said.add(manifest, shard, &read, lengths, &mut verified);
        }
        said.compare(name, manifest, split, lengths, &mut verified);
    }
    verified.beside(folder, manifest, &value)?;
    Ok(verified)
}

/// What was seen in the ids of one shard.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    ends: u64,
    last: Option<u32>,
    text: u64,
}

/// What the shards of a split say together, for the manifest's sums to be held against.
#[derive(Default)]
struct Said {
    tokens: u64,
    begun: u64,
    ends: u64,
    text: u64,
    last: Option<u32>,
}

impl Said {
    /// A document ends with the end of text. The other way round holds where nothing else can be one.
    fn add(&mut self, manifest: &Manifest, shard: &Shard, seen: &Seen, lengths: &Lengths, verified: &mut Verified) {
        if let (Some(eot), Some(last)) = (manifest.eot, self.last) {
            let exact = !lengths.of_ids.is_empty() && manifest.settings.request.allow_special.is_empty();
            let inside = last != eot;
            if inside != shard.starts_inside && (inside || exact) {
                let what = if inside { "goes on with" } else { "does not go on with" };
                let what = format!("it {what} the last document before it, the manifest says otherwise");
                verified.report(&shard.file, manifest.base(), what);
            }
        } else if self.last.is_none() && self.tokens == 0 && shard.starts_inside {
            verified.report(&shard.file, manifest.base(), "it is the first, so no document can go on in it".into());
        }
        self.tokens += shard.tokens;
        self.begun += shard.documents - u64::from(shard.starts_inside);
        self.ends += seen.ends;
        self.text += seen.text;
        self.last = seen.last.or(self.last);
    }

    fn compare(&self, name: &str, manifest: &Manifest, split: &Split, lengths: &Lengths, verified: &mut Verified) {
        if self.tokens != split.tokens {
            let what = format!("{name} says {} tokens, its shards have {}", split.tokens, self.tokens);
            verified.report(MANIFEST, 0, what);
        }
        // the last document may be cut by the limit: it has begun, and does not count
        let open = u64::from(manifest.eot.is_some() && self.last.is_some() && self.last != manifest.eot);
        let lost = self.begun.checked_sub(split.documents);
        if lost != Some(open) && !(lost == Some(1) && manifest.settings.request.limit.is_some()) {
            let what = format!(
                "{name} says {} documents, its shards have {}",
                split.documents,
                self.begun.saturating_sub(open)
            );
            verified.report(MANIFEST, 0, what);
        }
        // every byte of text is in a token, and every document that ends adds its end of text
        let end = manifest.eot.and_then(|eot| lengths.of_ids.get(eot as usize).copied()).map_or(0, u64::from);
        let sound = verified.problems.is_empty();
        if sound && !lengths.of_ids.is_empty() {
            let text = self.text.saturating_sub(split.documents * end);
            if text != split.text_bytes {
                let what = format!("{name} says {} bytes of text, its tokens stand for {text}", split.text_bytes);
                verified.report(MANIFEST, 0, what);
            }
            let exact = manifest.settings.request.allow_special.is_empty() && manifest.eot.is_some();
            if exact && self.ends != split.documents {
                let what = format!("{name} says {} documents, {} ends of text are in it", split.documents, self.ends);
                verified.report(MANIFEST, 0, what);
            }
        }
    }
}

impl Verified {
    fn report(&mut self, file: &str, offset: u64, what: String) {
        self.problems.push(Problem { file: file.into(), offset, what });
    }

    /// The manifest, or a report that it is damaged. An error where there is none, or that of something else.
    fn manifest(&mut self, folder: &Path) -> Result<Option<(Manifest, Value)>> {
        match Manifest::read_with_text(folder) {
            Ok(Some(found)) => Ok(Some(found)),
            // says why
            Ok(None) => Reader::open(folder).map(|_| None),
            Err(error) => match error.message.split_once(" is damaged: ") {
                Some((_, what)) => {
                    self.report(MANIFEST, 0, format!("it is damaged: {what}"));
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }

    /// The manifest against its seal, and the other files against what it says of them.
    fn beside(&mut self, folder: &Path, manifest: &Manifest, value: &Value) -> Result<()> {
        self.sealed = manifest.seal.is_some();
        match &manifest.seal {
            Some(seal) if *seal != seal_of(value) => {
                self.report(MANIFEST, 0, "it is not as it was written: its own hash differs".into());
            }
            Some(_) => {}
            // without a seal it must be of a version that knew none: a key that is unknown was a seal's once
            None => {
                let known = serde_json::to_value(manifest).unwrap_or_default();
                for key in value.as_object().into_iter().flat_map(serde_json::Map::keys) {
                    if known.get(key).is_none() || key == "beside" {
                        self.report(MANIFEST, 0, format!("it has {key:?}, and no seal"));
                    }
                }
            }
        }
        for (name, wanted) in manifest.beside.iter().flatten() {
            if !BESIDE.contains(&name.as_str()) {
                self.report(MANIFEST, 0, format!("it tells of {name:?}, which is no file of shards"));
                continue;
            }
            self.files += 1;
            let path = folder.join(name);
            match hash_of(&path) {
                Ok(Some(found)) if found == *wanted => {}
                Ok(Some(_)) => self.report(name, 0, "it is not the file that was written: its hash differs".into()),
                Ok(None) => self.report(name, 0, "the file is missing".into()),
                Err(error) if path.is_dir() => self.report(name, 0, format!("it is no file: {error}")),
                Err(error) => return Err(Error::io("read", &path, &error)),
            }
        }
        self.job(folder, manifest)
    }

    /// What was asked, against what the manifest says was done.
    fn job(&mut self, folder: &Path, manifest: &Manifest) -> Result<()> {
        let job = match Job::read(folder) {
            Ok(Some(job)) => job,
            Ok(None) => {
                if manifest.beside.is_none() {
                    self.report(JOB, 0, "the file is missing".into());
                }
                return Ok(());
            }
            Err(error) if folder.join(JOB).is_file() => {
                self.report(JOB, 0, error.message.split_once(" is ").map_or("", |(_, what)| what).into());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let settings = &manifest.settings;
        let request = &settings.request;
        let same = [
            ("dtype", settings.dtype == manifest.dtype),
            ("header", request.header == manifest.header),
            ("vocab_size", request.vocab_size == manifest.vocab_size),
            ("eot", request.eot == manifest.eot),
            ("tokenizer", request.tokenizer == manifest.tokenizer),
            ("settings", job.settings == *settings),
            ("sources", manifest.sources == job.sources.iter().map(Source::of).collect::<Vec<_>>()),
        ];
        for (key, _) in same.iter().filter(|(_, same)| !same) {
            self.report(MANIFEST, 0, format!("its {key:?} is not what was asked for, by {JOB} and its settings"));
        }
        Ok(())
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
        let metadata = file.metadata().map_err(|error| Error::io("read", &path, &error))?;
        if !metadata.is_file() {
            let what = if metadata.is_dir() { "a folder" } else { "something else" };
            self.report(name, 0, format!("it is {what}, not a file"));
            return Ok(None);
        }
        let size = metadata.len();
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
    lengths: &Lengths,
    verified: &mut Verified,
    check: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Seen> {
    let mut seen = Seen::default();
    let Some(mut file) = verified.open(folder, &shard.file, shard.bytes)? else { return Ok(seen) };
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
        for id in widen(manifest.dtype, chunk) {
            seen.ends += u64::from(manifest.eot == Some(id));
            seen.text += lengths.of_ids.get(id as usize).copied().map_or(0, u64::from);
            seen.last = Some(id);
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
    Ok(seen)
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
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_shard_file(name))
        .filter(|name| !known.contains(name))
        .collect()
}

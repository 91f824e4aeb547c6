//! A vocabulary as it lies in memory once compiled, kept in a file that is mapped the next time: reading GPT-2's
//! tokenizer.json and compiling it takes 100 ms, mapping it 2.
//!
//! A file is good for one version of this module, one processor's byte order and one source, whose hash is in its name
//! and in it. A hash of the whole tells damage, not malice, and encoding trusts these tables: so a file counts only
//! where it is this user's or root's and nobody else may write it, and what unchecked code relies on is looked at all
//! the same. It is a cache: what is missing, damaged, another's or cannot be written is made anew, and no error.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use super::encoder::Encoder;
use super::packed_ids::{Narrow, Packing, Wide};
use super::short_cache::Entry;
use super::tables::EncodeTables;
use crate::bpe::model::longest_prefix::Prefixes;
use crate::bpe::model::pair_ranks::PairRanks;
use crate::bpe::model::token_borders::TokenBorders;
use crate::bpe::model::Model;
use crate::bpe::vocab::Vocab;
use crate::error::Result;
use crate::memory::mapped_slice::{MappedSlice, Plain};
use crate::pattern::Pattern;

/// Changes with anything that the tables mean.
const VERSION: &str = concat!("pylm compiled vocabulary 4, ", env!("CARGO_PKG_VERSION"));
/// Files that a folder keeps: 7 MB each for GPT-2, 25 for o200k.
const KEPT: usize = 12;
/// Below this much source, reading takes no longer than looking for the file.
const SMALLEST: usize = 200_000;
/// Tables begin where the widest of them may.
const ALIGNMENT: usize = 64;

/// What is no table.
#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    specials: Vec<(String, u32)>,
    added: Vec<(String, u32)>,
    late: Vec<u32>,
    /// A regex, never a name.
    pattern: String,
    whole_first: bool,
    post_processor: Option<serde_json::Value>,
    identity: String,
    regular: bool,
    whole: Vec<u32>,
    prefixes: bool,
}

/// Names one source: the files it is made of and how they are read.
pub fn key_of_source(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    // how a one lies in memory tells byte order and word size: a file of another kind of processor has another name
    for part in [VERSION.as_bytes(), &1_usize.to_ne_bytes()].iter().chain(parts) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    format!("{:x}", hash.finalize())
}

impl Encoder {
    /// The encoder of a source, mapped from `folder` where an earlier call has left it there, else read and left there.
    pub fn cached(folder: Option<&Path>, source: &[&[u8]], read: impl FnOnce() -> Result<Vocab>) -> Result<Self> {
        let Some(folder) = folder.filter(|_| source.iter().map(|part| part.len()).sum::<usize>() >= SMALLEST) else {
            return Ok(Self::new(read()?));
        };
        let key = key_of_source(source);
        let path = folder.join(&key[..32]);
        if let Some(encoder) = load(&path, &key) {
            return Ok(encoder);
        }
        let encoder = Self::new(read()?);
        // a folder that cannot be written costs the next process 100 ms
        let _ = save(&encoder, &path, key);
        Ok(encoder)
    }
}

fn save(encoder: &Encoder, path: &Path, key: String) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    let (vocab, model) = (&encoder.vocab, &encoder.vocab.model);
    let mut file = Writer { bytes: vec![0; 16] };
    let header = Header {
        key,
        specials: vocab.specials.clone(),
        added: vocab.added.clone(),
        late: vocab.late.clone(),
        pattern: vocab.pattern.regex().into(),
        whole_first: vocab.whole_first,
        post_processor: vocab.post_processor.clone(),
        identity: vocab.identity(),
        regular: model.regular,
        whole: model.whole.values().copied().collect(),
        prefixes: encoder.tables.prefixes.is_some(),
    };
    file.put(serde_json::to_vec(&header)?.into());
    file.put(vocab.tokens.iter().map(|token| token.len() as u32).collect());
    file.put(vocab.tokens.concat().into());
    file.put(vocab.to_tokenizer_json().into_bytes().into());
    file.add(&model.pairs.lines);
    file.add(&model.pairs.filter);
    file.add(&model.byte_pairs);
    file.add(&model.results);
    file.add(&model.ids);
    file.add(&model.splits);
    file.add(&model.lengths);
    let EncodeTables { prefixes, borders, chars, seeds, .. } = &encoder.tables;
    file.add(&borders.bytes);
    file.add(&borders.pairs);
    file.add(chars);
    file.add(seeds);
    if let Some(prefixes) = prefixes {
        file.add(&prefixes.lengths);
        file.add(&prefixes.slots);
        file.add(&prefixes.keys);
        file.add(&prefixes.shorter);
    }
    let hash = xxh3_128(&file.bytes[16..]);
    file.bytes[..16].copy_from_slice(&hash.to_le_bytes());
    fs::create_dir_all(folder)?;
    let temporary = path.with_extension(format!("tmp{}", crate::unique::suffix()));
    write_own(&temporary, &file.bytes).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    forget_oldest(folder)
}

/// Writes a file that nobody else may write, whatever the mask says.
fn write_own(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Whether a file is this user's, or root's, and no other may write it.
fn is_own(file: &fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    // SAFETY: it always succeeds
    let user = unsafe { libc::geteuid() };
    file.metadata().is_ok_and(|about| [user, 0].contains(&about.uid()) && about.mode() & 0o022 == 0)
}

/// Removes all but the newest files.
fn forget_oldest(folder: &Path) -> std::io::Result<()> {
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let surplus = files.len().saturating_sub(KEPT);
    files[..surplus].iter().try_for_each(|(_, path)| fs::remove_file(path))
}

fn load(path: &Path, key: &str) -> Option<Encoder> {
    let file = fs::File::open(path).ok().filter(is_own)?;
    // SAFETY: files of this folder are replaced by renaming or removed, never changed
    let map = Arc::new(unsafe { Mmap::map(&file) }.ok()?);
    let expected = u128::from_le_bytes(*map.first_chunk()?);
    if xxh3_128(&map[16..]) != expected {
        return None;
    }
    let mut file = Reader { map: &map, at: 16 };
    let header: Header = serde_json::from_slice(&file.take::<u8>()?).ok()?;
    if header.key != key {
        return None;
    }
    let lengths = file.take::<u32>()?;
    let texts = file.take::<u8>()?;
    let mut tokens = Vec::with_capacity(lengths.len());
    let mut rest = &*texts;
    for &length in &*lengths {
        let (token, after) = rest.split_at_checked(length as usize)?;
        tokens.push(token.to_vec());
        rest = after;
    }
    let tokenizer_json = file.take()?;
    let model = Model {
        pairs: PairRanks::of_tables(file.take()?, file.take()?)?,
        byte_pairs: file.take()?,
        results: file.take()?,
        ids: file.take()?,
        splits: file.take()?,
        lengths: file.take()?,
        regular: header.regular,
        whole: header
            .whole
            .iter()
            .map(|&id| Some((tokens.get(id as usize)?.as_slice().into(), id)))
            .collect::<Option<HashMap<_, _>>>()?,
    };
    let borders = TokenBorders::of_tables(file.take()?, file.take()?)?;
    let (chars, seeds): (MappedSlice<[u64; 2]>, MappedSlice<Entry>) = (file.take()?, file.take()?);
    let count = if tokens.len() <= 1 << 16 { Narrow::count } else { Wide::count };
    let fits = model.byte_pairs.len() == 1 << 16
        && model.ids.len() >= 256
        && model.lengths.len() == model.ids.len()
        && model.splits.len() == model.results.len() + 256
        && (!model.regular || model.ids.len() == model.splits.len())
        && model.ids.iter().all(|&id| (id as usize) < tokens.len())
        // a character has no more ids than bytes: what is written goes where room was made for so many
        && chars.len() == 1 << 16
        && chars.iter().all(|&ids| count(ids) <= 3)
        && seeds.iter().all(|seed| count(seed.ids) == 1);
    if !fits {
        return None;
    }
    let prefixes = if header.prefixes {
        let inner: Vec<&[u8]> = model.ids.iter().map(|&id| tokens[id as usize].as_slice()).collect();
        Some(Prefixes::of_tables(&inner, file.take()?, file.take()?, file.take()?, file.take()?)?)
    } else {
        None
    };
    let id = |inner: u32| model.ids[inner as usize];
    let vocab = Vocab {
        merges: model.splits[256..].iter().map(|&[left, right]| (id(left), id(right))).collect(),
        results: model.results.iter().map(|&inner| id(inner)).collect(),
        tokens,
        specials: header.specials,
        added: header.added,
        late: header.late,
        pattern: Pattern::of_regex(&header.pattern).ok()?,
        whole_first: header.whole_first,
        post_processor: header.post_processor,
        model,
        known: Some((header.identity, tokenizer_json)),
    };
    Some(Encoder::of_tables(vocab, EncodeTables::of_tables(prefixes, borders, chars, seeds)))
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn put<T: Plain>(&mut self, table: MappedSlice<T>) {
        self.add(&table);
    }

    fn add<T: Plain>(&mut self, table: &MappedSlice<T>) {
        self.bytes.extend((table.len() as u64).to_le_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        self.bytes.extend(table.bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
    }
}

struct Reader<'a> {
    map: &'a Arc<Mmap>,
    at: usize,
}

impl Reader<'_> {
    fn take<T: Plain>(&mut self) -> Option<MappedSlice<T>> {
        let count = u64::from_le_bytes(*self.map.get(self.at..)?.first_chunk()?) as usize;
        let at = (self.at + 8).next_multiple_of(ALIGNMENT);
        let table = MappedSlice::mapped(self.map, at, count)?;
        self.at = (at + size_of_val(&*table)).next_multiple_of(8);
        Some(table)
    }
}

//! What a finished folder says of itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use xxhash_rust::xxh3::{xxh3_128, Xxh3};

use super::plan::{Dtype, Header, Settings, JOB};
use crate::error::{quoted, Error, Result};
use crate::input::{Skipped, SourceFile};

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const FORMAT: &str = "pylm-shards";
pub(super) const VERSION: u32 = 1;
/// What else a folder holds: the job, and the files of its tokenizer, which [`Files`](super::Files) gives.
pub(super) const BESIDE: [&str; 6] =
    [JOB, "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "tokenizer.vocab", "ranks.tiktoken"];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: String,
    pub version: u32,
    pub dtype: Dtype,
    pub header: Header,
    pub vocab_size: u32,
    pub eot: Option<u32>,
    /// The tokenizer's identity.
    pub tokenizer: String,
    pub splits: Splits,
    pub sources: Vec<Source>,
    pub settings: Settings,
    pub skipped: SkippedLines,
    /// Bytes that were no UTF-8 and became U+FFFD.
    pub replaced_bytes: u64,
    /// What they were put together of, where that is other shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<Value>,
    /// XXH3-128 of the other files by name; folders of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<BTreeMap<String, String>>,
    /// XXH3-128 of everything above; folders of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Splits {
    pub train: Split,
    pub val: Split,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Split {
    pub tokens: u64,
    pub documents: u64,
    pub text_bytes: u64,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    pub file: String,
    pub tokens: u64,
    /// Entries of the index less one.
    pub documents: u64,
    /// It begins within a document.
    pub starts_inside: bool,
    pub bytes: u64,
    /// XXH3-128 of the ids.
    pub hash: String,
    pub index_bytes: u64,
    pub index_hash: String,
}

impl Shard {
    pub fn index_file(&self) -> String {
        format!("{}.idx", self.file.strip_suffix(".bin").unwrap_or(&self.file))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    pub name: String,
    pub size: u64,
    pub fingerprint: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SkippedLines {
    pub count: u64,
    pub first: Vec<Skipped>,
}

impl Source {
    pub(super) fn of(file: &SourceFile) -> Self {
        Self { name: file.name.clone(), size: file.size, fingerprint: file.fingerprint.clone() }
    }
}

impl Manifest {
    /// None where the folder has none. Every name in it is one of the folder, and its sizes can be reckoned with.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        Ok(Self::read_with_text(folder)?.map(|(manifest, _)| manifest))
    }

    /// The manifest, and the JSON that it was read from.
    pub(super) fn read_with_text(folder: &Path) -> Result<Option<(Self, Value)>> {
        let path = folder.join(MANIFEST);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(Error::data(format!("{} is a file, not a folder of token shards", folder.display())).hint(
                    format!("if it is text: pylm tokenize {} makes the folder", quoted(&folder.display().to_string())),
                ))
            }
            Err(error) => return Err(Error::io("read", &path, &error)),
        };
        let damaged = |what: &dyn std::fmt::Display| {
            Error::data(format!("{} is damaged: {what}", path.display())).hint("tokenize again with --force")
        };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(&error))?;
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(Error::data(format!("{} is no manifest of token shards", path.display()))
                .hint("give the folder that pylm tokenize wrote"));
        }
        let version = value.get("version").and_then(Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let version = version.map_or("unknown".into(), |version| version.to_string());
            return Err(Error::data(format!(
                "{} is of version {version}, and this pylm reads {VERSION}",
                path.display()
            ))
            .hint("use the pylm that wrote it, or tokenize again with --force"));
        }
        let manifest: Self = serde_json::from_value(value.clone()).map_err(|error| damaged(&error))?;
        manifest.reckon().map_err(|what| damaged(&what))?;
        Ok(Some((manifest, value)))
    }

    /// What makes names and sizes unfit for use, in words.
    fn reckon(&self) -> Result<(), String> {
        let wrong = |shard: &Shard, what: &str| Err(format!("{what} of {:?} do not belong together", shard.file));
        for (name, split) in self.splits() {
            for shard in &split.shards {
                if !is_plain(&shard.file) {
                    return Err(format!("{:?} is not the name of a file in the folder", shard.file));
                }
                let bytes = shard.tokens.checked_mul(self.dtype.size()).and_then(|ids| ids.checked_add(self.base()));
                if bytes.is_none_or(|bytes| bytes != shard.bytes || bytes > i64::MAX as u64) {
                    return wrong(shard, "tokens and bytes");
                }
                let index = shard.documents.checked_add(1).and_then(|entries| entries.checked_mul(8));
                if index != Some(shard.index_bytes) || shard.documents < u64::from(shard.starts_inside) {
                    return wrong(shard, "documents and bytes of the index");
                }
            }
            let sum = |count: fn(&Shard) -> u64| {
                split.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(count(shard)))
            };
            if sum(|shard| shard.bytes).is_none() || sum(|shard| shard.index_bytes).is_none() {
                return Err(format!("{name} is said to be larger than anything can be"));
            }
        }
        Ok(())
    }

    /// The manifest with the hashes of what lies in the folder already, and with its own.
    pub(super) fn sealed(mut self, folder: &Path) -> Result<Self> {
        let mut beside = BTreeMap::new();
        for name in BESIDE {
            let path = folder.join(name);
            if let Some(hash) = hash_of(&path).map_err(|error| Error::io("read", &path, &error))? {
                beside.insert(name.to_string(), hash);
            }
        }
        self.beside = Some(beside);
        // by way of its text, as it will be read: a number may be spelled in more than one way
        let text = crate::files::to_json(&self);
        let value: Value = serde_json::from_slice(&text).map_err(|error| Error::data(error.to_string()))?;
        self.seal = Some(seal_of(&value));
        Ok(self)
    }

    pub fn splits(&self) -> [(&'static str, &Split); 2] {
        [("train", &self.splits.train), ("val", &self.splits.val)]
    }

    /// Bytes before the ids of a shard.
    pub fn base(&self) -> u64 {
        self.header.bytes()
    }

    pub(super) fn sizes_hold(&self, folder: &Path) -> bool {
        let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
        self.splits()
            .iter()
            .flat_map(|(_, split)| &split.shards)
            .all(|shard| size(&shard.file) == shard.bytes && size(&shard.index_file()) == shard.index_bytes)
    }
}

/// A file of the folder itself, that any system and Python can name.
fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

/// Which of a manifest and one file beside it is not as it was written; None where both are, or nothing tells.
pub fn changed(folder: &Path, name: &str) -> Result<Option<String>> {
    let Some((manifest, value)) = Manifest::read_with_text(folder)? else { return Ok(None) };
    if manifest.seal.as_ref().is_some_and(|seal| *seal != seal_of(&value)) {
        return Ok(Some(MANIFEST.into()));
    }
    let Some(wanted) = manifest.beside.as_ref().and_then(|beside| beside.get(name)) else { return Ok(None) };
    let path = folder.join(name);
    let found = hash_of(&path).map_err(|error| Error::io("read", &path, &error))?;
    Ok((found.as_ref() != Some(wanted)).then(|| name.into()))
}

/// XXH3-128 of everything in a manifest but its seal.
pub(super) fn seal_of(manifest: &Value) -> String {
    let mut rest = manifest.clone();
    if let Value::Object(fields) = &mut rest {
        fields.shift_remove("seal");
    }
    format!("{:032x}", xxh3_128(rest.to_string().as_bytes()))
}

/// XXH3-128 of a file; None where there is none.
pub(super) fn hash_of(path: &Path) -> std::io::Result<Option<String>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut hash, mut buffer) = (Xxh3::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(Some(format!("{:032x}", hash.digest128()))),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

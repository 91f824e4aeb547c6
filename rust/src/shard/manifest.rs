//! What a finished folder says of itself.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::files::read_json;
use super::job::{Dtype, Header, Settings};
use crate::error::{Error, Result};
use crate::input::Skipped;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const FORMAT: &str = "pylm-shards";
pub(super) const VERSION: u32 = 1;

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

impl Manifest {
    /// None where the folder has none.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        let Some(value) = read_json::<serde_json::Value>(&path)? else { return Ok(None) };
        if value.get("format").and_then(|format| format.as_str()) != Some(FORMAT) {
            return Err(Error::data(format!("{} is no manifest of token shards", path.display()))
                .hint("give the folder that pylm tokenize wrote"));
        }
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let version = version.map_or("unknown".into(), |version| version.to_string());
            return Err(Error::data(format!(
                "{} is of version {version}, and this pylm reads {VERSION}",
                path.display()
            ))
            .hint("use the pylm that wrote it, or tokenize again with --force"));
        }
        serde_json::from_value(value).map(Some).map_err(|error| {
            Error::data(format!("{} is damaged: {error}", path.display())).hint("tokenize again with --force")
        })
    }

    pub fn splits(&self) -> [(&'static str, &Split); 2] {
        [("train", &self.splits.train), ("val", &self.splits.val)]
    }

    /// Bytes before the ids of a shard.
    pub fn base(&self) -> u64 {
        match self.header {
            Header::None => 0,
            Header::Llmc => 1024,
        }
    }

    pub(super) fn sizes_hold(&self, folder: &Path) -> bool {
        let size = |name: &str| std::fs::metadata(folder.join(name)).map_or(0, |metadata| metadata.len());
        self.splits()
            .iter()
            .flat_map(|(_, split)| &split.shards)
            .all(|shard| size(&shard.file) == shard.bytes && size(&shard.index_file()) == shard.index_bytes)
    }
}

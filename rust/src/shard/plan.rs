//! What was asked and how it is cut into work: all that decides a byte of the output.

use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::limit::Limit;
use crate::error::{Error, Result};
use crate::files::read_json;
use crate::id::is_narrow;
use crate::input::{plan_units, survey, Input, Invalid, SourceFile, Survey, Unit, Validation};

pub(super) const JOB: &str = "job.json";
/// What mends a file of ours that is damaged.
pub(super) const AGAIN: &str = "tokenize again with --force, which replaces the folder's shards";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    Uint16,
    Uint32,
}

impl Dtype {
    /// The narrowest that holds every id below `vocab_size`.
    pub fn of(vocab_size: u32) -> Self {
        if is_narrow(vocab_size as usize) {
            Self::Uint16
        } else {
            Self::Uint32
        }
    }

    pub fn size(self) -> u64 {
        match self {
            Self::Uint16 => 2,
            Self::Uint32 => 4,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Header {
    #[default]
    None,
    /// llm.c's 256 little-endian int32.
    Llmc,
}

impl Header {
    /// Bytes before the ids of a shard.
    pub fn bytes(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Llmc => 1024,
        }
    }
}

/// What the caller asks for, beside the sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The tokenizer's identity.
    pub tokenizer: String,
    pub vocab_size: u32,
    pub eot: Option<u32>,
    /// As given to `--split`.
    pub split: String,
    pub field: String,
    pub column: String,
    pub invalid: Invalid,
    pub skip_bad: bool,
    pub allow_special: Vec<String>,
    /// The share that validation gets.
    pub validation: f64,
    pub shard_tokens: u64,
    pub limit: Option<Limit>,
    pub header: Header,
    /// How the tokenizer was made, where it was made for this folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<serde_json::Value>,
    /// How the text was cleaned before, where it was: the rules' name and what tells them and the sources apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clean: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    #[serde(flatten)]
    pub request: Request,
    pub dtype: Dtype,
    /// How documents are chosen for validation.
    pub rule: Validation,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub version: u32,
    pub settings: Settings,
    /// Bytes of text for a token, measured on the beginning of the sources: decides how much text becomes a shard.
    pub bytes_per_token: f64,
    pub sources: Vec<SourceFile>,
    pub units: Vec<Unit>,
    /// The units of each shard.
    pub shards: Vec<Range<usize>>,
}

/// The size of a unit where nothing asks for less.
const UNIT: u64 = if cfg!(test) { 40_000 } else { 64 << 20 };
/// A unit is no smaller: a document's side is decided by its first 64 KiB, and one that is cut is cut behind the middle
/// of a unit.
const SMALLEST_UNIT: u64 = if cfg!(test) { 2000 } else { 128 << 10 };
/// Documents that validation must be expected to get before a hash chooses them; below that, none at all would be
/// too likely (e^-8 is one in three thousand).
const EXPECTED_DOCUMENTS: f64 = 8.0;

impl Job {
    pub fn plan(input: &Input, request: Request, bytes_per_token: f64) -> Result<Self> {
        if !(0.0..=0.9).contains(&request.validation) {
            return Err(Error::usage(format!("--val {} is no share of the text", request.validation))
                .hint("give a number from 0 (none) to 0.9"));
        }
        if request.shard_tokens == 0 {
            return Err(Error::usage("a shard of no tokens holds nothing").hint("give --shard-tokens e.g. 100M"));
        }
        if request.header == Header::Llmc && request.shard_tokens > 1 << 30 {
            return Err(Error::usage("llm.c's header counts to 2^31 tokens").hint("give --shard-tokens 1Gi or less"));
        }
        let shard_bytes = (request.shard_tokens as f64 * bytes_per_token) as u64;
        if shard_bytes < SMALLEST_UNIT {
            let least = (SMALLEST_UNIT as f64 / bytes_per_token / 1000.0).ceil() as u64;
            return Err(Error::usage(format!(
                "--shard-tokens {} is too few: a shard holds {} KiB of text at least",
                request.shard_tokens,
                SMALLEST_UNIT >> 10
            ))
            .hint(format!("--shard-tokens {least}k is the least for this text")));
        }
        let unit_bytes = shard_bytes / shard_bytes.div_ceil(UNIT);
        let (rule, survey) = choose_rule(input, request.validation)?;
        let units = plan_units(input, unit_bytes, rule, survey.as_ref())?;
        let settings = Settings { dtype: Dtype::of(request.vocab_size), request, rule };
        let shards = group(&units, shard_bytes);
        let sources = input.files.to_vec();
        Ok(Self { version: 1, settings, bytes_per_token, sources, units, shards })
    }

    /// The job of a folder, where it has one.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        read_json(&folder.join(JOB), AGAIN)
    }

    /// Bytes before the ids of a train shard.
    pub(super) fn header_bytes(&self) -> u64 {
        self.settings.request.header.bytes()
    }

    /// Bytes of text, as far as they are known before reading.
    pub fn bytes(&self) -> u64 {
        self.units.iter().map(|unit| unit.bytes).sum()
    }

    /// The first thing in which the two differ, in words; None where they are the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (&self.settings.request, &other.settings.request);
        if ours.tokenizer != theirs.tokenizer {
            return Some(format!(
                "with another tokenizer ({})",
                theirs.tokenizer.get(..12).unwrap_or(&theirs.tokenizer)
            ));
        }
        if let Some(difference) = SourceFile::difference(&self.sources, &other.sources) {
            return Some(difference);
        }
        if let (Ok(serde_json::Value::Object(ours)), Ok(serde_json::Value::Object(theirs))) =
            (serde_json::to_value(ours), serde_json::to_value(theirs))
        {
            for (key, value) in &ours {
                let other = theirs.get(key).unwrap_or(&serde_json::Value::Null);
                if other != value {
                    return Some(format!("with {} {other} instead of {value}", key.replace('_', "-")));
                }
            }
        }
        // a source that was only touched or copied is the same
        let other = Self { sources: self.sources.clone(), ..other.clone() };
        (*self != other).then(|| "by another version of pylm".into())
    }
}

/// A hash of each document, or blocks of the text where there are too few documents.
fn choose_rule(input: &Input, share: f64) -> Result<(Validation, Option<Survey>)> {
    if share <= 0.0 {
        return Ok((Validation::None, None));
    }
    let enough = (EXPECTED_DOCUMENTS / share).ceil() as u64;
    let survey = survey(input, enough)?;
    if survey.documents >= enough {
        return Ok((Validation::hash(share), Some(survey)));
    }
    let bytes: u64 = survey.text_bytes.iter().flatten().sum();
    // a few blocks of some pages: enough to be fair, large enough to hold whole sequences
    let count = ((bytes as f64 * share / BLOCK as f64) as u64).clamp(1, 64);
    let period = (bytes / count).max(2);
    let width = ((period as f64 * share) as u64).clamp(1, period - 1);
    Ok((Validation::Blocks { period, width }, Some(survey)))
}

/// Bytes of a block of validation text.
const BLOCK: u64 = 32 << 10;

/// Runs of units of about `target` bytes.
fn group(units: &[Unit], target: u64) -> Vec<Range<usize>> {
    let mut shards: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (index, unit) in units.iter().enumerate() {
        match shards.last_mut() {
            // a unit joins where more than half of it has room
            Some(last) if bytes + unit.bytes / 2 <= target => last.end = index + 1,
            _ => {
                shards.push(index..index + 1);
                bytes = 0;
            }
        }
        bytes += unit.bytes;
    }
    shards
}

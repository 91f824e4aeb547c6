//! What the caller asks for, beside the sources.

use serde::{Deserialize, Serialize};

use crate::clean::{duplicates, rules};
use crate::error::Result;
use crate::input::Invalid;

/// How documents are read, what is measured of them, what is kept, and what is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "options, each asked for by itself")]
pub struct Request {
    /// As given to `--split`.
    pub split: String,
    pub field: String,
    pub column: String,
    pub invalid: Invalid,
    pub skip_bad: bool,
    /// What the rules were called, such as `fineweb`.
    pub named: String,
    /// Where the thresholds of languages are from: `built-in` or `fineweb2`.
    pub thresholds: String,
    /// The families of rules that judge, and where they draw the line.
    pub rules: rules::Settings,
    /// Whether copies are left out.
    pub exact: bool,
    /// `0.8`, `fineweb` or `off`.
    pub near: String,
    pub shingle: Option<usize>,
    /// Which of several duplicates stays.
    pub keep: Keep,
    /// Survivors are written as often as their cluster has documents.
    pub rehydrate: bool,
    /// zstd over what is written.
    pub compress: bool,
    /// What is removed is written with its text.
    pub keep_removed: bool,
    /// No text is written at all.
    pub tags_only: bool,
    /// Bytes of a unit.
    pub unit_bytes: u64,
    /// Bytes of text of a file that is written.
    pub file_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    First,
    Longest,
    /// By the date that its fields say.
    Newest,
    /// By a number among its fields.
    Best(String),
}

impl Request {
    pub fn duplicates(&self) -> Result<duplicates::Settings> {
        duplicates::Settings::new(&self.near, self.shingle)
    }
}

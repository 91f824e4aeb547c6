//! What the caller asks for, beside the sources.

use serde::{Deserialize, Serialize};

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::clean::duplicates::{self, repeats};
use crate::clean::repair::Repairs;
use crate::clean::rules;
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
    pub repairs: Repairs,
    pub pii: Private,
    /// Codes of the languages that stay; all of them where none is named.
    pub languages: Vec<String>,
    /// How sure of a language one must be for a document of it to stay.
    pub language_scores: BTreeMap<String, f32>,
    /// A fastText model that names languages; the one that is built in where there is none.
    pub language_model: Option<PathBuf>,
    /// `FILE:LABEL>=X` of each classifier that must agree.
    pub classifiers: Vec<String>,
    /// Lists of what addresses are not to hold.
    pub url_lists: Vec<PathBuf>,
    /// The tests whose items are looked for, and words of a gram.
    pub against: Vec<Test>,
    pub ngram: usize,
    /// Documents that a line, a paragraph or a span of three sentences must stand in to be dropped but for the first.
    pub lines: Option<usize>,
    pub paragraphs: Option<usize>,
    pub spans: Option<usize>,
    /// The sha256 of every file that is named here.
    pub files: BTreeMap<PathBuf, String>,
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
    /// Survivors are written as often as the size of their cluster speaks for.
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

/// What is done with addresses of people and machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Private {
    /// A placeholder stands for each.
    Mask,
    /// The document says where they stand.
    Tag,
    Off,
}

/// A test whose items are looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Test {
    pub name: String,
    pub items: usize,
    /// The sha256 of the items.
    pub sha256: String,
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
    /// What repeats across documents and is dropped, and in how many it must stand.
    pub(super) fn repeats(&self) -> Vec<(repeats::Kind, usize)> {
        use repeats::Kind::{Lines, Paragraphs, Spans};
        let asked = [(Lines, self.lines), (Paragraphs, self.paragraphs), (Spans, self.spans)];
        asked.into_iter().filter_map(|(kind, least)| Some((kind, least?))).collect()
    }

    pub fn duplicates(&self) -> Result<duplicates::Settings> {
        duplicates::Settings::new(&self.near, self.shingle)
    }
}

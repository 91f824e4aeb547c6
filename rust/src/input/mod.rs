//! Text from wherever it lies: files, folders, globs, stdin and what is read by ranges; txt, jsonl, json, csv, parquet,
//! WET and tar, gzip and zstd of them.
//!
//! SOURCE… is resolved to [`SourceFile`]s in a fixed order, these are cut into [`Unit`]s of bounded size before
//! anything is read through, and a [`Feed`] hands blocks of the units to worker threads: about a megabyte each, ending
//! where a document ends or where the pre-tokenizer provably cannot straddle. A plain file is mapped and never copied;
//! pages are dropped once their block is done, so that memory does not grow with the input.

mod ahead;
mod archive;
mod block;
mod chunks;
mod cleaned;
mod columns;
mod compressed;
mod cut;
mod documents;
mod elements;
mod expand;
mod feed;
mod field;
mod jsonl;
mod magic;
mod mapped;
mod members;
mod note;
mod page_header;
mod pages;
mod parquet;
mod place;
mod raw;
mod reader;
mod separator;
mod source;
mod span;
mod surrogates;
mod survey;
mod table;
mod tar;
mod texts;
mod unit;
mod warc;
mod window;

pub use block::{Block, Segment, Side, Skipped};
pub use documents::{Batch, Documents, Position};
pub use feed::{Blocks, Event, Feed, Ticket};
pub use mapped::{Mapping, Text};
pub(crate) use members::Members;
pub use note::Note;
pub use place::{Place, Remote, Source};
pub use raw::{Mark, RawBlock};
pub use separator::Separator;
pub use source::{look, Compression, Format, Input, Look, SourceFile};
pub use survey::{survey, Survey};
pub use unit::{plan_units, Span, Unit};

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;

/// Where `text` may be cut within `(low, high]` so that encoding both sides apart changes nothing.
pub type SafeCut = Arc<dyn Fn(&[u8], usize, usize) -> Option<usize> + Send + Sync>;

/// Asked now and then by whoever works alone for long: an error stops the work.
pub type Check = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// What to do with bytes that are no UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Invalid {
    /// Stop, and name the file and the byte.
    #[default]
    Error,
    /// U+FFFD for each maximal invalid run, counted.
    Replace,
}

/// How text becomes documents.
#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "options, each asked for by itself")]
pub struct Options {
    pub separator: Separator,
    /// The key of a jsonl line that holds the text.
    pub field: String,
    /// The column of a parquet file that holds the text.
    pub column: String,
    pub invalid: Invalid,
    /// Count and list broken jsonl lines instead of stopping at the first.
    pub skip_bad: bool,
    /// Where a long document may be cut; without it a document is never cut.
    pub safe_cut: Option<SafeCut>,
    /// What `-` stands for: a file that stdin was written to. Without it `-` is refused.
    pub stdin: Option<PathBuf>,
    /// Stdin holds jsonl rather than plain text.
    pub stdin_jsonl: bool,
    /// Whether to note what a source says of each document beside its text.
    pub meta: bool,
    /// The key or column of a whole number to note of each.
    pub extra: Option<String>,
    /// Whether reading may end at any place, so that little is to be fetched before it is needed.
    pub may_end: bool,
    /// Whether blocks may be cut off whose length as text is not known yet.
    pub apart: bool,
    /// Whether to go on looking through the sources: how Ctrl-C is heard before threads have begun to work.
    pub check: Option<Check>,
}

impl Options {
    pub(crate) fn check(&self) -> Result<()> {
        self.check.as_ref().map_or(Ok(()), |check| check())
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            separator: Separator::end_of_text(),
            field: "text".into(),
            column: "text".into(),
            invalid: Invalid::Error,
            skip_bad: false,
            safe_cut: None,
            stdin: None,
            stdin_jsonl: false,
            meta: false,
            extra: None,
            may_end: false,
            apart: false,
            check: None,
        }
    }
}

/// Which documents are kept for validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Validation {
    #[default]
    None,
    /// Documents whose first 64 KiB hash below the threshold.
    Hash { threshold: u64 },
    /// `width` bytes in the middle of every `period` bytes of text, where documents are too few to choose from.
    Blocks { period: u64, width: u64 },
}

impl Validation {
    /// How much of a document decides its side. A bound, so that a document of gigabytes need not be read twice.
    pub const PREFIX: usize = if cfg!(test) { 512 } else { 64 << 10 };

    pub fn hash(fraction: f64) -> Self {
        if fraction <= 0.0 {
            return Self::None;
        }
        // 2^64 as a float; the product saturates at u64::MAX for a fraction of one
        Self::Hash { threshold: (fraction * 18_446_744_073_709_551_616.0) as u64 }
    }

    /// The side of a whole document, or of one that begins with `text`; blocks decide by place instead.
    pub fn side(self, text: &[u8]) -> Side {
        match self {
            Self::Hash { threshold } => {
                let prefix = &text[..text.len().min(Self::PREFIX)];
                if xxhash_rust::xxh3::xxh3_64(prefix) < threshold {
                    Side::Validation
                } else {
                    Side::Train
                }
            }
            Self::None | Self::Blocks { .. } => Side::Train,
        }
    }
}

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod separator_tests;
#[cfg(test)]
pub(crate) mod tests;

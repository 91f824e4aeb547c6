//! A block as it was cut off, before its documents are found.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::pages::Pages;
use super::table::Header;
use super::texts::Documents;
use super::{Input, Side, SourceFile, Text};

/// Bytes of text in a block: large enough that handing it over costs nothing, small enough to stay in a core's cache.
pub const BLOCK_BYTES: usize = if cfg!(test) { 4096 } else { 1 << 20 };

/// Where in its file reading goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes of its text, decompressed; row groups of a parquet file.
    pub at: u64,
    /// Rows of the row group.
    pub row: u64,
    /// Lines before it, where the reader has to count them.
    pub line: u64,
}

/// What a reader cut off, not yet looked into.
pub struct RawBlock {
    pub(super) file: u32,
    /// Where the block begins in its file, or in what was decompressed of it.
    pub(super) position: u64,
    /// Where it begins in all of the text, as the plan counted it.
    pub(super) offset: u64,
    /// Lines before it, where the reader has to count them.
    pub(super) line: Option<u64>,
    /// Where its file goes on.
    pub(super) after: Mark,
    /// The file within the archive that it is of.
    pub(super) within: Option<Arc<SourceFile>>,
    pub(super) content: Content,
}

impl RawBlock {
    pub fn after(&self) -> Mark {
        self.after
    }

    pub fn file(&self) -> usize {
        self.file as usize
    }

    /// What the file is called that it is of, the archive's name before its own.
    pub fn name<'a>(&'a self, input: &'a Input) -> &'a str {
        self.within.as_ref().map_or(&input.files[self.file()].name, |file| &file.name)
    }

    /// Bytes of the source that it stands for.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

pub(super) enum Content {
    /// Documents between separators. `inside`: it begins within a document of that side; `open`: it is one part of a
    /// document that goes on.
    Text {
        text: Text,
        inside: Option<Side>,
        open: bool,
    },
    /// Whole jsonl lines.
    Lines {
        text: Text,
    },
    Documents(Documents),
    /// Of a text column, not yet unpacked.
    Pages(Box<Pages>),
    /// Whole elements of a JSON array.
    Elements {
        text: Vec<u8>,
    },
    /// Whole records of a table.
    Records {
        text: Vec<u8>,
        header: Arc<Header>,
    },
}

impl Content {
    /// Bytes of the source that it stands for; of pages about as many.
    pub fn len(&self) -> usize {
        match self {
            Self::Text { text, .. } | Self::Lines { text } => text.len(),
            Self::Elements { text } | Self::Records { text, .. } => text.len(),
            Self::Documents(documents) => documents.text.len(),
            Self::Pages(pages) => pages.unpacked(),
        }
    }
}

//! One unit → blocks of about a megabyte, one after another. Finding where to cut is all that happens here; what is
//! in a block is found by whichever thread took it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::parquet::Documents;
use super::span::SpanReader;
use super::table::Header;
use super::{Input, Side, SourceFile, Span, Text, Unit, Validation};
use crate::error::Result;

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
        match &self.content {
            Content::Text { text, .. } | Content::Lines { text } => text.len(),
            Content::Elements { text } | Content::Records { text, .. } => text.len(),
            Content::Documents(documents) => documents.text.len(),
        }
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

/// Reads a unit in order.
pub struct UnitReader {
    input: Input,
    spans: std::vec::IntoIter<Span>,
    validation: Validation,
    /// Where the next span begins in all of the text.
    offset: u64,
    current: Option<SpanReader>,
}

impl UnitReader {
    pub fn new(input: &Input, unit: &Unit, validation: Validation) -> Self {
        let spans = unit.spans.clone().into_iter();
        Self { input: input.clone(), spans, validation, offset: unit.offset, current: None }
    }

    /// Reads the rest of a file.
    pub fn rest(input: &Input, file: usize, mark: Mark) -> Result<Self> {
        let span = Span { file: file as u32, start: mark.at, end: u64::MAX, inside: None, open: false };
        let current = Some(SpanReader::open(input, &span, mark, 0)?);
        Ok(Self {
            input: input.clone(),
            spans: Vec::new().into_iter(),
            validation: Validation::None,
            offset: 0,
            current,
        })
    }

    /// Whether the next block costs time to cut off, so that a second thread had better start another unit.
    pub fn slow(&self) -> bool {
        self.current.as_ref().is_some_and(SpanReader::slow)
    }

    pub fn next(&mut self) -> Result<Option<RawBlock>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(block) = current.next(&self.input, self.validation)? {
                    return Ok(Some(block));
                }
                self.offset = current.end_offset();
            }
            let Some(span) = self.spans.next() else {
                self.current = None;
                return Ok(None);
            };
            let mark = Mark { at: span.start, ..Mark::default() };
            self.current = Some(SpanReader::open(&self.input, &span, mark, self.offset)?);
        }
    }
}

//! One unit → blocks of about a megabyte, one after another. Finding where to cut is all that happens here; what is
//! in a block is found by whichever thread took it.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::compressed::{self, Stream};
use super::magic::{self, after_mark};
use super::parquet::{Documents, Rows};
use super::{Compression, Format, Input, Mapping, Place, SafeCut, Separator, Side, Span, Text, Unit, Validation};
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
    pub(super) content: Content,
}

impl RawBlock {
    pub fn after(&self) -> Mark {
        self.after
    }

    pub fn file(&self) -> usize {
        self.file as usize
    }

    /// Bytes of the source that it stands for.
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Text { text, .. } | Content::Lines { text } => text.len(),
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
        self.current.as_ref().is_some_and(|span| !matches!(span.bytes, Bytes::Mapped { .. }))
    }

    pub fn next(&mut self) -> Result<Option<RawBlock>> {
        loop {
            if let Some(current) = &mut self.current {
                if let Some(block) = current.next(&self.input, self.validation)? {
                    return Ok(Some(block));
                }
                self.offset = current.offset + current.position - current.start;
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

enum Bytes {
    Mapped {
        map: Arc<Mapping>,
        end: usize,
    },
    /// Of the window, what lies before `taken` is gone already.
    Stream {
        stream: Stream,
        window: Vec<u8>,
        taken: usize,
        ended: bool,
    },
    Rows(Box<Rows>),
}

struct SpanReader {
    file: u32,
    start: u64,
    position: u64,
    offset: u64,
    inside: Option<Side>,
    /// The last document of the span goes on in the next one.
    open: bool,
    line: Option<u64>,
    bytes: Bytes,
}

impl SpanReader {
    fn open(input: &Input, span: &Span, mark: Mark, offset: u64) -> Result<Self> {
        let file = &input.files[span.file as usize];
        let bytes = if file.format == Format::Parquet {
            Bytes::Rows(Box::new(Rows::open(file, input, span.end, mark)?))
        } else if file.ranged() {
            Bytes::Mapped { map: Mapping::open(file)?, end: span.end.min(file.size) as usize }
        } else {
            let stream = compressed::open(file, mark.at, &input.options)?;
            Bytes::Stream { stream, window: Vec::new(), taken: 0, ended: false }
        };
        let start = if file.format == Format::Parquet { 0 } else { span.start };
        let line = (!file.ranged()).then_some(mark.line);
        Ok(Self { file: span.file, start, position: start, offset, inside: span.inside, open: span.open, line, bytes })
    }

    fn next(&mut self, input: &Input, validation: Validation) -> Result<Option<RawBlock>> {
        let file = &input.files[self.file as usize];
        let lines = file.format == Format::Jsonl;
        let (separator, safe_cut) =
            if lines { (&Separator::Line, None) } else { (&input.options.separator, input.options.safe_cut.as_ref()) };
        let (text, open, side) = match &mut self.bytes {
            Bytes::Rows(rows) => {
                let Some(documents) = rows.next(BLOCK_BYTES)? else { return Ok(None) };
                let (length, after) = (documents.text.len() as u64, rows.mark());
                return Ok(Some(RawBlock { after, ..self.take(length, 0, Content::Documents(documents)) }));
            }
            Bytes::Mapped { map, end } => {
                let start = self.position as usize;
                if start >= *end {
                    return Ok(None);
                }
                let window = &map[start..*end];
                let (length, open) =
                    cut(window, true, self.open, separator, safe_cut).unwrap_or((window.len(), self.open));
                let side = open.then(|| {
                    self.inside.unwrap_or_else(|| validation.side(after_mark(&window[..length], self.position)))
                });
                (Text::Mapped { map: map.clone(), range: start..start + length }, open, side)
            }
            Bytes::Stream { stream, window, taken, ended } => {
                let mut wanted = BLOCK_BYTES + BLOCK_BYTES / 4;
                let (length, open) = loop {
                    let there = window.len() - *taken;
                    if there < wanted && !*ended {
                        let first = window.is_empty() && self.position == 0;
                        *ended = compressed::fill(stream, window, wanted - there, file, self.position + there as u64)?;
                        if first && matches!(file.place, Place::Elsewhere(_)) {
                            magic::check(Path::new(&file.name), file.format, Compression::None, head(window))?;
                        }
                    }
                    if window.len() == *taken {
                        return Ok(None);
                    }
                    if let Some(found) = cut(&window[*taken..], *ended, false, separator, safe_cut) {
                        break found;
                    }
                    wanted = (wanted * 2).max(SEARCH + BLOCK_BYTES / 4);
                };
                let text = take_front(window, taken, length);
                let side =
                    open.then(|| self.inside.unwrap_or_else(|| validation.side(after_mark(&text, self.position))));
                (Text::Owned(text), open, side)
            }
        };
        let length = text.len() as u64;
        let newlines = match (lines, self.line) {
            (true, Some(_)) => memchr::memchr_iter(b'\n', &text).count() as u64,
            _ => 0,
        };
        let content = if lines { Content::Lines { text } } else { Content::Text { text, inside: self.inside, open } };
        self.inside = side;
        Ok(Some(self.take(length, newlines, content)))
    }

    fn take(&mut self, length: u64, newlines: u64, content: Content) -> RawBlock {
        let offset = self.offset + self.position - self.start;
        let (position, line) = (self.position, self.line);
        self.position += length;
        self.line = line.map(|line| line + newlines);
        let after = Mark { at: self.position, row: 0, line: self.line.unwrap_or(0) };
        RawBlock { file: self.file, position, offset, line, after, content }
    }
}

/// What of a text says what kind it is of.
fn head(text: &[u8]) -> &[u8] {
    &text[..text.len().min(magic::HEAD)]
}

/// The next `length` bytes of a window. Whichever of them and what is behind them is less is copied: after a long
/// document much may be left, which is not to be moved for every block.
fn take_front(window: &mut Vec<u8>, taken: &mut usize, length: usize) -> Vec<u8> {
    let end = *taken + length;
    if window.len() - end > length {
        let text = window[*taken..end].to_vec();
        *taken = end;
        if end > window.len() / 2 {
            window.drain(..end);
            *taken = 0;
        }
        return text;
    }
    let rest = window[end..].to_vec();
    let mut text = std::mem::replace(window, rest);
    text.truncate(end);
    text.drain(..*taken);
    *taken = 0;
    text
}

/// How far a document's end is sought before the document itself is cut.
const SEARCH: usize = 4 * BLOCK_BYTES;

/// Where to cut the next block off `window`, and whether that is within a document: a block is whole documents, or one
/// part of one. None where more text is needed first.
fn cut(
    window: &[u8],
    complete: bool,
    open: bool,
    separator: &Separator,
    safe_cut: Option<&SafeCut>,
) -> Option<(usize, bool)> {
    if complete && window.len() <= BLOCK_BYTES + BLOCK_BYTES / 4 {
        return Some((window.len(), open));
    }
    if window.len() < BLOCK_BYTES {
        return None;
    }
    // a span that ends within a document holds no separator: the plan cut it so
    let separator = if open { &Separator::File } else { separator };
    if let Some(found) = separator.last(&window[..BLOCK_BYTES]) {
        return Some((found.next, false));
    }
    let from = separator.tail(&window[..BLOCK_BYTES]);
    let search = window.len().min(SEARCH);
    if let Some(found) = separator.first(&window[..search], from, complete && search == window.len()) {
        return Some((found.next, false));
    }
    if window.len() < SEARCH && !complete {
        return None;
    }
    // a separator may begin here, and a document is not cut within one
    let tail = from + separator.tail(&window[from..search]);
    if let Some(safe_cut) = safe_cut {
        let mut low = BLOCK_BYTES / 2;
        while low < search {
            let high = (low * 2).min(search);
            if let Some(cut) = safe_cut(window, low, high.min(tail)) {
                if cut < window.len() {
                    return Some((cut, true));
                }
            }
            low = high;
        }
    }
    if let Some(found) = separator.first(window, tail, complete) {
        return Some((found.next, false));
    }
    complete.then_some((window.len(), open))
}

//! A block of text and the documents in it.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::parquet::unsound;
use super::texts::Documents;
use super::{
    elements, jsonl, Format, Invalid, Mapping, Note, Options, RawBlock, SafeCut, SourceFile, Text, Validation,
};
use crate::error::{quoted, Error, Result};
use crate::input::magic::after_mark;
use crate::input::raw::Content;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    Train,
    Validation,
}

/// A document, or a part of one that was cut where encoding allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub range: Range<usize>,
    /// The document ends here; otherwise the next segment of the same side goes on with it.
    pub ends: bool,
    pub side: Side,
}

/// A jsonl line that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub file: String,
    pub line: u64,
    pub byte: u64,
    pub why: String,
}

/// Text and its documents, in order; empty documents are left out.
pub struct Block {
    pub text: Text,
    pub segments: Vec<Segment>,
    pub skipped: Vec<Skipped>,
    /// Bytes that were no UTF-8 and became U+FFFD.
    pub replaced: u64,
    /// Documents that are null, which are left out.
    pub nulls: u64,
    /// What was noted of each document, one a segment, where it was asked for.
    pub notes: Vec<Note>,
}

impl Block {
    /// The documents and parts of documents of this block.
    pub fn documents(&self) -> impl Iterator<Item = &[u8]> {
        self.segments.iter().map(|segment| &self.text[segment.range.clone()])
    }

    /// Finds the documents of what a reader cut off: the work that many threads share.
    pub fn new(raw: RawBlock, file: &SourceFile, options: &Options, validation: Validation) -> Result<Self> {
        let within = raw.within.clone();
        // a file here whose bytes can be cut off by a command
        let lone = within.is_none() && file.ranged();
        let file = within.as_deref().unwrap_or(file);
        let mut block = Self {
            text: Text::Owned(Vec::new()),
            segments: Vec::new(),
            skipped: Vec::new(),
            replaced: 0,
            nulls: 0,
            notes: Vec::new(),
        };
        match raw.content {
            Content::Text { text, inside, open } => {
                block.text = text;
                let mut start = block.text.len() - after_mark(&block.text, raw.position).len();
                let mut inside = inside;
                let length = block.text.len();
                while start < length {
                    let found = if open { None } else { options.separator.first(&block.text, start, true) };
                    let end = found.map_or(length, |found| found.end);
                    let document = &block.text[start..end];
                    // the end of a document that began in an earlier block is kept even where nothing is left of it
                    if !document.is_empty() || inside.is_some() {
                        let side = inside.unwrap_or_else(|| validation.side(document));
                        block.segments.push(Segment { range: start..end, ends: !open, side });
                    }
                    inside = None;
                    start = found.map_or(length, |found| found.next);
                }
                if let (Some(side), true, false) = (inside, length == 0, open) {
                    block.segments.push(Segment { range: 0..0, ends: true, side });
                }
                block.check_utf8(file, lone, raw.position, options.invalid)?;
            }
            Content::Lines { text } => {
                let origin = jsonl::Origin { file, position: raw.position, line: raw.line };
                block.take_lines(jsonl::documents(
                    &text,
                    jsonl::lines(&text, raw.position),
                    &origin,
                    options,
                    validation,
                )?);
            }
            Content::Elements { text } => {
                let origin = jsonl::Origin { file, position: raw.position, line: raw.line };
                block.take_lines(jsonl::documents(&text, elements::elements(&text), &origin, options, validation)?);
            }
            Content::Records { text, header } => {
                let origin = (raw.position, raw.line.unwrap_or(0));
                let documents = header.documents(&text, origin, file, options)?;
                block.take_documents(documents, validation);
                block.check_utf8(file, lone, raw.position, options.invalid)?;
            }
            Content::Pages(pages) => {
                let documents = pages.documents().map_err(|error| unsound(&file.name, &error))?;
                block.take_documents(documents, validation);
                block.check_utf8(file, lone, raw.position, options.invalid)?;
            }
            Content::Documents(documents) => {
                block.take_documents(documents, validation);
                block.check_utf8(file, lone, raw.position, options.invalid)?;
            }
        }
        if let Validation::Blocks { period, width } = validation {
            block.segments = validation_blocks(&block, raw.offset, period, width, options.safe_cut.as_ref());
        }
        Ok(block)
    }

    fn take_lines(&mut self, found: jsonl::Found) {
        self.text = Text::Owned(found.bytes);
        (self.segments, self.skipped, self.replaced) = (found.segments, found.skipped, found.replaced);
        (self.nulls, self.notes) = (found.nulls, found.notes);
    }

    fn take_documents(&mut self, documents: Documents, validation: Validation) {
        let Documents { text, ends, notes, nulls } = documents;
        (self.text, self.nulls) = (Text::Owned(text), nulls);
        let (mut start, mut notes) = (0, notes.into_iter());
        for end in ends {
            let note = notes.next();
            if end > start {
                let side = validation.side(&self.text[start..end]);
                self.segments.push(Segment { range: start..end, ends: true, side });
                self.notes.extend(note);
            }
            start = end;
        }
    }

    fn check_utf8(&mut self, file: &SourceFile, lone: bool, position: u64, invalid: Invalid) -> Result<()> {
        if let Ok(text) = simdutf8::basic::from_utf8(&self.text) {
            // halves of a character in two documents are sound together only
            if self.segments.iter().all(|segment| text.get(segment.range.clone()).is_some()) {
                return Ok(());
            }
        }
        let mut text = Vec::with_capacity(self.text.len() + 64);
        let mut segments = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let document = &self.text[segment.range.clone()];
            let start = text.len();
            match (String::from_utf8_lossy(document), invalid) {
                (Cow::Borrowed(valid), _) => text.extend_from_slice(valid.as_bytes()),
                (Cow::Owned(_), Invalid::Error) => {
                    let within = std::str::from_utf8(document).map_or_else(|error| error.valid_up_to(), str::len);
                    let byte = segment.range.start + within;
                    let place = match file.format {
                        Format::Parquet | Format::Csv | Format::Warc => format!("a document of {}", file.name),
                        _ => format!("{}: byte {}", file.name, position + byte as u64),
                    };
                    let said = format!("{place} is not UTF-8 (0x{:02x})", self.text[byte]);
                    let cut = std::str::from_utf8(document).is_err_and(|error| error.error_len().is_none());
                    let last = segment.range.end == self.text.len();
                    if cut && last && lone && position + self.text.len() as u64 == file.size {
                        let (whole, name) = (position + byte as u64, quoted(&file.name));
                        let hint = format!("head -c {whole} {name} > whole.txt leaves it out");
                        return Err(Error::data(format!("{said}: the file ends in the middle of a character"))
                            .hint(format!("{hint}, and --invalid replace puts U+FFFD there")));
                    }
                    return Err(Error::data(said)
                        .hint("convert the text to UTF-8 (iconv does), or use --invalid replace to put U+FFFD there"));
                }
                (Cow::Owned(repaired), Invalid::Replace) => {
                    self.replaced += document.utf8_chunks().map(|chunk| chunk.invalid().len() as u64).sum::<u64>();
                    text.extend_from_slice(repaired.as_bytes());
                }
            }
            segments.push(Segment { range: start..text.len(), ..segment.clone() });
        }
        self.text = Text::Owned(text);
        self.segments = segments;
        Ok(())
    }
}

/// Cuts segments where blocks of validation text begin and end. `offset` is where the block lies in all of the text,
/// so that neither threads nor cuts move it; a block ends its document.
fn validation_blocks(block: &Block, offset: u64, period: u64, width: u64, safe_cut: Option<&SafeCut>) -> Vec<Segment> {
    let first = (period - width) / 2;
    let side_at = |place: u64| {
        let phase = place % period;
        if phase >= first && phase < first + width {
            Side::Validation
        } else {
            Side::Train
        }
    };
    // the next place after `place` where the side changes
    let change = |place: u64| {
        let (turn, phase) = (place / period * period, place % period);
        let next = [first, first + width, period + first].into_iter().find(|&edge| edge > phase);
        turn + next.unwrap_or(period + first)
    };
    let mut segments = Vec::new();
    for segment in &block.segments {
        let Range { mut start, end } = segment.range;
        loop {
            let nominal = change(offset + start as u64) - offset;
            let cut = match usize::try_from(nominal) {
                Ok(nominal) if nominal < end => {
                    near(&block.text[start..end], nominal - start, safe_cut).map(|cut| start + cut)
                }
                _ => None,
            };
            let side = side_at(offset + start as u64);
            match cut {
                Some(cut) if cut < end => {
                    segments.push(Segment { range: start..cut, ends: true, side });
                    start = cut;
                }
                _ => {
                    // a part may end just where the side changes: what follows is then another document
                    let ends = segment.ends || side_at(offset + end as u64) != side;
                    segments.push(Segment { range: start..end, ends, side });
                    break;
                }
            }
        }
    }
    segments
}

/// A safe cut at or shortly after `low`; the end of a line where no pre-tokenizer says what is safe.
fn near(text: &[u8], low: usize, safe_cut: Option<&SafeCut>) -> Option<usize> {
    let Some(safe_cut) = safe_cut else {
        return memchr::memchr(b'\n', &text[low..]).map(|at| low + at + 1);
    };
    let mut reach = 64;
    loop {
        let high = (low + reach).min(text.len());
        if let Some(cut) = safe_cut(text, low, high) {
            return Some(cut);
        }
        if high == text.len() {
            return None;
        }
        reach *= 4;
    }
}

/// Maps are shared by blocks of several threads.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Mapping>();
    shared::<Block>();
};

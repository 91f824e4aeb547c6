//! What happens to one document: it is repaired, measured, compared and masked, in this order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::judge::columns;
use super::line::fields_of;
use super::request::Request;
use super::worth::Worth;
use crate::clean::duplicates::{self, Sketcher};
use crate::clean::record::{Tag, EMPTY};
use crate::clean::rules::{self, Measures, Rules};
use crate::clean::words::Cut;
use crate::error::{Error, Result};
use crate::input::{Block, Note, Skipped};

/// Broken lines that are listed; the others are counted.
const LISTED: usize = 20;

/// What is counted beside the documents' own records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub repairs: BTreeMap<String, u64>,
    pub private: BTreeMap<String, u64>,
    /// Lines that rules dropped, by reason.
    pub lines: BTreeMap<String, u64>,
    pub nulls: u64,
    /// Bytes that were no UTF-8 and became U+FFFD.
    pub replaced: u64,
    pub skipped: u64,
    pub first_skipped: Vec<Skipped>,
}

impl Tally {
    /// Adds what comes after it in the order of the sources.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in
            [(&mut self.repairs, &other.repairs), (&mut self.private, &other.private), (&mut self.lines, &other.lines)]
        {
            theirs.iter().for_each(|(name, count)| *ours.entry(name.clone()).or_default() += count);
        }
        self.nulls += other.nulls;
        self.replaced += other.replaced;
        self.skipped += other.skipped;
        let room = LISTED.saturating_sub(self.first_skipped.len());
        self.first_skipped.extend(other.first_skipped.iter().take(room).cloned());
    }
}

/// What came of a block.
#[derive(Default)]
pub(super) struct Made {
    pub documents: u32,
    pub tags: Vec<u8>,
    pub sketches: Vec<u8>,
    /// Fields and text of each document, back to back.
    pub texts: Vec<u8>,
    pub tally: Tally,
}

impl Made {
    fn clear(&mut self) {
        self.documents = 0;
        self.tags.clear();
        self.sketches.clear();
        self.texts.clear();
        self.tally = Tally::default();
    }
}

/// All that is made once.
pub(super) struct Chain {
    rules: Rules,
    /// The places of the measures that are kept.
    columns: Vec<usize>,
    duplicates: duplicates::Settings,
    worth: Worth,
}

/// What a thread keeps between documents.
pub(super) struct Scratch {
    rules: rules::Scratch,
    measures: Measures,
    sketcher: Sketcher,
    tag: Tag,
}

impl Chain {
    pub fn new(request: &Request) -> Result<Self> {
        Ok(Self {
            rules: Rules::new(&request.rules)?,
            columns: columns(request),
            duplicates: request.duplicates()?,
            worth: Worth::of(&request.keep),
        })
    }

    pub fn scratch(&self) -> Scratch {
        Scratch {
            rules: rules::Scratch::default(),
            measures: Measures::default(),
            sketcher: Sketcher::new(&self.duplicates),
            tag: Tag::default(),
        }
    }

    /// Makes of a block of source `source` what is written of it.
    pub fn pass(&self, block: &Block, source: u32, scratch: &mut Scratch, made: &mut Made) -> Result<()> {
        made.clear();
        (made.tally.nulls, made.tally.replaced) = (block.nulls, block.replaced);
        made.tally.skipped = block.skipped.len() as u64;
        made.tally.first_skipped = block.skipped.iter().take(LISTED).cloned().collect();
        let nothing = Note::default();
        for (number, text) in block.documents().enumerate() {
            let text = simdutf8::basic::from_utf8(text).map_err(|_| Error::data("a document is not UTF-8"))?;
            self.document(text, block.notes.get(number).unwrap_or(&nothing), source, scratch, made);
        }
        Ok(())
    }

    fn document(&self, text: &str, note: &Note, source: u32, scratch: &mut Scratch, made: &mut Made) {
        let Scratch { rules, measures, sketcher, tag } = scratch;
        let fields = fields_of(note);
        *tag = Tag {
            before: text.len() as u64,
            fields: fields.len() as u32,
            source,
            measures: std::mem::take(&mut tag.measures),
            ..Tag::default()
        };
        let rewritten = self.rules.measure(text, tag.language(), rules, measures);
        tag.measures.clear();
        tag.measures.extend(self.columns.iter().map(|column| measures.values()[*column]));
        let text = rewritten.as_deref().unwrap_or(text);
        tag.bytes = text.len() as u64;
        tag.value = self.worth.of_document(text, &fields);
        if text.trim().is_empty() {
            tag.flags |= EMPTY;
        }
        made.sketches.extend_from_slice(&sketcher.exact(text).to_le_bytes());
        sketcher.sketch(text, Cut::of(tag.language()), &mut made.sketches);
        tag.put(&mut made.tags);
        made.texts.extend_from_slice(fields.as_bytes());
        made.texts.extend_from_slice(text.as_bytes());
        made.documents += 1;
    }
}

//! What happens to one document: it is repaired, named a language, measured, made a sketch of, searched for test items
//! and masked, in this order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::judge::{columns, ADDRESSES};
use super::line::{add_spans, fields_of};
use super::request::{Private, Request};
use super::worth::Worth;
use crate::clean::address::{Filter, Lists};
use crate::clean::contamination::{self, Grams, Index, Item};
use crate::clean::duplicates::{self, Sketcher};
use crate::clean::language::{self, Classifier, Identifier};
use crate::clean::private;
use crate::clean::record::{Tag, EMPTY};
use crate::clean::repair::{repair, Repairs};
use crate::clean::rules::{self, Measures, Rules};
use crate::clean::words::Cut;
use crate::error::{Error, Result};
use crate::input::{Block, Members, Note, Skipped};

/// Broken lines that are listed; the others are counted.
const LISTED: usize = 20;

/// What is counted beside the documents' own records.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    pub repairs: BTreeMap<String, u64>,
    pub private: BTreeMap<String, u64>,
    /// Lines that rules dropped, by reason.
    pub lines: BTreeMap<String, u64>,
    /// Numbers of the test items that were found, each once.
    pub items: BTreeSet<u32>,
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
            for (name, count) in theirs {
                *ours.entry(name.clone()).or_default() += count;
            }
        }
        self.items.extend(&other.items);
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
    repairs: Repairs,
    identifier: Identifier,
    addresses: Option<Filter>,
    classifiers: Vec<Classifier>,
    rules: Rules,
    /// The places of the rules' measures that are kept.
    columns: Vec<usize>,
    duplicates: duplicates::Settings,
    tests: Option<Index>,
    private: Private,
    worth: Worth,
}

/// What a thread keeps between documents.
pub(super) struct Scratch {
    repaired: String,
    masked: String,
    found: Vec<private::Address>,
    language: language::Scratch,
    rules: rules::Scratch,
    measures: Measures,
    sketcher: Sketcher,
    tests: Option<contamination::Scratch>,
    tag: Tag,
}

/// Soft words of an address that are too many, as for datatrove.
const SOFT_WORDS: usize = 2;

impl Chain {
    /// `items` are those of the tests that the request names.
    pub fn new(request: &Request, items: Vec<Item>) -> Result<Self> {
        let mut lists = Lists::default();
        request.url_lists.iter().try_for_each(|path| lists.read(path))?;
        let filtered = !request.url_lists.is_empty();
        let identifier = request.language_model.as_deref().map_or(Ok(Identifier::BuiltIn), Identifier::open)?;
        let tested = !request.against.is_empty();
        Ok(Self {
            repairs: request.repairs,
            identifier,
            addresses: filtered.then(|| Filter::new(lists, SOFT_WORDS)).transpose()?,
            classifiers: request.classifiers.iter().map(|told| Classifier::parse(told)).collect::<Result<_>>()?,
            rules: Rules::new(&request.rules)?,
            columns: columns(request),
            duplicates: request.duplicates()?,
            tests: tested.then(|| Index::new(request.ngram, Grams::Answer, items)).transpose()?,
            private: request.pii,
            worth: Worth::of(&request.keep),
        })
    }

    pub fn scratch(&self) -> Scratch {
        Scratch {
            repaired: String::new(),
            masked: String::new(),
            found: Vec::new(),
            language: language::Scratch::default(),
            rules: rules::Scratch::default(),
            measures: Measures::default(),
            sketcher: Sketcher::new(&self.duplicates),
            tests: self.tests.as_ref().map(Index::scratch),
            tag: Tag::default(),
        }
    }

    /// The tests, and how many of their items can be found at all.
    pub fn tests(&self) -> Option<&Index> {
        self.tests.as_ref()
    }

    /// What the classifiers ask for.
    pub fn classifiers(&self) -> Vec<Asked> {
        self.classifiers.iter().map(Asked::of).collect()
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
            self.document(text, block.notes.get(number).unwrap_or(&nothing), source, scratch, made)?;
        }
        Ok(())
    }

    fn document(&self, text: &str, note: &Note, source: u32, scratch: &mut Scratch, made: &mut Made) -> Result<()> {
        let Scratch { repaired, masked, found, language, rules, measures, sketcher, tests, tag } = scratch;
        let mut fields = fields_of(note);
        *tag = Tag { before: text.len() as u64, source, measures: std::mem::take(&mut tag.measures), ..Tag::default() };
        for (name, count) in repair(text, &self.repairs, repaired).named() {
            add(&mut made.tally.repairs, name, count);
        }
        refuse_longer(repaired.len().max(fields.len()))?;
        let (named, sure) = self.identifier.identify(repaired, language);
        (tag.language, tag.score) = (*named.bytes(), sure);
        tag.address = self.addresses.as_ref().map_or(0, |filter| address(filter, &fields));
        let rewritten = self.rules.measure(repaired, tag.language(), rules, measures);
        tag.measures.clear();
        tag.measures.extend(self.columns.iter().map(|column| measures.values()[*column]));
        tag.measures.extend(self.classifiers.iter().map(|one| f64::from(one.measure(repaired, language))));
        let text = rewritten.as_deref().unwrap_or(repaired);
        tag.value = self.worth.of_document(text, &fields);
        made.sketches.extend_from_slice(&sketcher.exact(text).to_le_bytes());
        sketcher.sketch(text, Cut::of(tag.language()), &mut made.sketches);
        if let (Some(index), Some(scratch)) = (&self.tests, tests) {
            if let Some(hit) = index.check(text, scratch) {
                (tag.task, tag.item) = (index.item(hit.item).0 as u16 + 1, hit.item);
                made.tally.items.extend(&scratch.items);
            }
        }
        let text = self.hide(text, &mut fields, found, masked, &mut made.tally);
        (tag.bytes, tag.fields) = (text.len() as u64, fields.len() as u32);
        if text.trim().is_empty() {
            tag.flags |= EMPTY;
        }
        tag.put(&mut made.tags);
        made.texts.extend_from_slice(fields.as_bytes());
        made.texts.extend_from_slice(text.as_bytes());
        made.documents += 1;
        Ok(())
    }

    /// Hides addresses of people and machines, or says in the fields where they are.
    fn hide<'a>(
        &self,
        text: &'a str,
        fields: &mut String,
        found: &mut Vec<private::Address>,
        masked: &'a mut String,
        tally: &mut Tally,
    ) -> &'a str {
        if self.private == Private::Off {
            return text;
        }
        private::find(text, found);
        let counts = private::Counts::of(found);
        add(&mut tally.private, "mail", counts.mail);
        add(&mut tally.private, "ip", counts.ip);
        if found.is_empty() {
            return text;
        }
        if self.private == Private::Tag {
            add_spans(fields, &private::in_code_points(text, found));
            return text;
        }
        private::mask(text, found, masked);
        masked
    }
}

/// Rules and records say in four bytes where something stands in a text, and more would be a place before it.
fn refuse_longer(bytes: usize) -> Result<()> {
    if u32::try_from(bytes).is_ok() {
        return Ok(());
    }
    Err(Error::data(format!("a document of {bytes} bytes is longer than can be cleaned"))
        .hint("cut it into documents of less than 4 GB: --split says where in a plain text"))
}

/// Why an address is not wanted, as a number from 1; 0 where it is none, or is wanted.
fn address(filter: &Filter, fields: &str) -> u16 {
    let url = Members::of(fields).and_then(|fields| fields.value("url"));
    let refused = url.as_ref().and_then(serde_json::Value::as_str).and_then(|url| filter.refuses(url));
    refused.and_then(|why| ADDRESSES.iter().position(|name| *name == why)).map_or(0, |place| place as u16 + 1)
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str, count: u64) {
    if count > 0 {
        *counts.entry(name.into()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_four_gigabytes_is_refused() {
        assert!(refuse_longer(0).is_ok() && refuse_longer(u32::MAX as usize).is_ok());
        let refused = refuse_longer(1 << 32).unwrap_err();
        assert_eq!(refused.message, "a document of 4294967296 bytes is longer than can be cleaned");
    }
}

//! What lines, paragraphs and spans of a text are, and the text without some of them.

use std::ops::Range;

use crate::clean::duplicates::fineweb::{simplify, Hash};
use crate::clean::duplicates::units::{fold, Units};
use crate::clean::words::class::Classes;
use crate::clean::words::{each, Chunks, Kind as SentenceKind, Sentences};
use crate::error::{Error, Result};

/// Sentences of a span.
const SPAN: usize = 3;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lines, with or without the same case and punctuation.
    Lines,
    /// Lines between blank ones, likewise.
    Paragraphs,
    /// Three sentences in a row, simplified as datatrove's sentence deduplication does it.
    Spans,
}

impl Kind {
    pub fn parse(given: &str) -> Result<Self> {
        match given {
            "lines" => Ok(Self::Lines),
            "paragraphs" => Ok(Self::Paragraphs),
            "spans" => Ok(Self::Spans),
            other => Err(Error::usage(format!("{other:?} is no part of a text that is looked for in others"))
                .hint("lines, paragraphs and spans are")),
        }
    }
}

/// Cuts texts into parts; one a thread.
pub struct Parts {
    kind: Kind,
    units: Units,
    chunks: Chunks,
    pieces: Vec<Range<usize>>,
    simple: Vec<String>,
    spaced: String,
    hashes: Vec<(u32, u64)>,
}

impl Parts {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            units: Units::default(),
            chunks: Chunks::new(),
            pieces: Vec::new(),
            simple: Vec::new(),
            spaced: String::new(),
            hashes: Vec::new(),
        }
    }

    /// The hashes of a text's parts, each with its place. A line without a letter or digit is no part, so that what
    /// holds a text together stays: braces, rules, blank lines.
    pub fn of(&mut self, text: &str) -> &[(u32, u64)] {
        self.hashes.clear();
        self.pieces.clear();
        match self.kind {
            Kind::Lines => lines(text, &mut self.pieces),
            Kind::Paragraphs => paragraphs(text, &mut self.pieces),
            Kind::Spans => {
                sentences(text, &mut self.chunks, &mut self.pieces);
                self.spans(text);
                return &self.hashes;
            }
        }
        for (place, piece) in (0..).zip(&self.pieces) {
            self.units.read(&text[piece.clone()]);
            if !self.units.hashes.is_empty() {
                let hash = self.units.hashes.iter().fold(0, |hash, unit| fold(hash ^ unit, 0x8bb8_4b93_962e_acc9));
                self.hashes.push((place, hash));
            }
        }
        &self.hashes
    }

    fn spans(&mut self, text: &str) {
        self.simple.resize(self.pieces.len(), String::new());
        for (simple, piece) in self.simple.iter_mut().zip(&self.pieces) {
            simplify(&text[piece.clone()], &mut self.spaced, simple);
        }
        for (place, span) in (0..).zip(self.simple.windows(SPAN)) {
            let joined = span.join(" ");
            if !joined.trim().is_empty() {
                self.hashes.push((place, Hash::Xxh64.of(&joined)));
            }
        }
    }
}

/// The text without the parts at these places, which are in order.
pub fn without(text: &str, kind: Kind, places: &[u32]) -> String {
    let mut pieces = Vec::new();
    match kind {
        Kind::Lines => lines(text, &mut pieces),
        Kind::Paragraphs => paragraphs(text, &mut pieces),
        Kind::Spans => return without_spans(text, places),
    }
    let mut places = places.iter().peekable();
    let mut kept = String::with_capacity(text.len());
    for (place, piece) in (0..).zip(pieces) {
        if places.next_if_eq(&&place).is_none() {
            kept.push_str(&text[piece]);
        }
    }
    if !text.ends_with('\n') {
        // the last line went, and the one before ends as the text did
        kept.truncate(kept.trim_end_matches(['\n', '\r']).len());
    }
    kept
}

/// Drops the sentences of spans, each with the white space before it.
fn without_spans(text: &str, places: &[u32]) -> String {
    let pieces = sentences_of(text);
    let mut places = places.iter().peekable();
    let (mut kept, mut at, mut dropped_to) = (String::with_capacity(text.len()), 0, 0);
    for (place, piece) in pieces.iter().enumerate() {
        if places.next_if_eq(&&(place as u32)).is_some() {
            dropped_to = place + SPAN;
        }
        if place >= dropped_to {
            kept.push_str(&text[if kept.is_empty() { piece.start } else { at }..piece.end]);
        }
        at = piece.end;
    }
    kept
}

/// Lines with their ends: together they are the text.
fn lines(text: &str, pieces: &mut Vec<Range<usize>>) {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        pieces.push(at..at + line.len());
        at += line.len();
    }
}

/// Lines up to a blank one, and the blank ones after them: together they are the text.
fn paragraphs(text: &str, pieces: &mut Vec<Range<usize>>) {
    let mut was_blank = true;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let is_blank = line.trim().is_empty();
        match pieces.last_mut() {
            Some(last) if is_blank || !was_blank => last.end += line.len(),
            _ => pieces.push(at..at + line.len()),
        }
        (at, was_blank) = (at + line.len(), is_blank);
    }
}

/// Sentences of a text, each from its first word to its last.
pub fn sentences_of(text: &str) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    sentences(text, &mut Chunks::new(), &mut pieces);
    pieces
}

fn sentences(text: &str, chunks: &mut Chunks, pieces: &mut Vec<Range<usize>>) {
    let classes = Classes::get();
    let (mut counted, mut last) = (Sentences::default(), 0);
    each(text, chunks, |start, end| {
        counted.word(SentenceKind::of(&text[start..end], classes), &text.as_bytes()[last..start]);
        last = end;
        let count = counted.count(b"");
        if pieces.len() < count {
            pieces.resize(count, start..end);
        }
        if let Some(sentence) = pieces.last_mut() {
            sentence.end = end;
        }
    });
}

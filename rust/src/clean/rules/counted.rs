//! The words of a text, laid out once for all rules: their bytes without the spaces between them, and what each is.

use crate::clean::words::class::{Classes, ENDER, LETTER, PUNCTUATION, UNICODE_PUNCTUATION};
use crate::clean::words::{each, Chunks, Kind};

/// What is read past the end of the bytes.
const PADDING: usize = 16;

/// A word, or what comes after the last one.
#[derive(Debug, Clone, Copy)]
struct Row {
    /// Where it begins in the bytes.
    offset: u32,
    /// How many characters come before it.
    characters: u32,
    /// Where it begins in the text.
    start: u32,
    kind: Kind,
}

pub struct Words {
    chunks: Chunks,
    classes: &'static Classes,
    /// The bytes of all words in a row.
    bytes: Vec<u8>,
    rows: Vec<Row>,
    pub counts: Counts,
}

/// Of all words of a text.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// With a letter.
    pub alphabetic: usize,
    /// With something else than punctuation.
    pub solid: usize,
    /// Characters of these.
    pub solid_characters: usize,
}

/// What one word is.
struct Described {
    alphabetic: bool,
    solid: bool,
    characters: usize,
    kind: Kind,
}

impl Words {
    pub fn new() -> Self {
        Self {
            chunks: Chunks::new(),
            classes: Classes::get(),
            bytes: Vec::new(),
            rows: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Lays out the words of `text`.
    pub fn lay_out(&mut self, text: &str) {
        if text.is_ascii() {
            self.lay_out_as::<true>(text);
        } else {
            self.lay_out_as::<false>(text);
        }
    }

    fn lay_out_as<const ASCII: bool>(&mut self, text: &str) {
        self.rows.clear();
        if self.bytes.len() < text.len() + PADDING {
            self.bytes.resize(text.len() + PADDING, 0);
        }
        let source = text.as_bytes();
        let (mut at, mut characters, mut counts) = (0, 0, Counts::default());
        each(text, &mut self.chunks, |start, end| {
            let word = describe::<ASCII>(&text[start..end], self.classes);
            let (offset, before) = (at as u32, characters as u32);
            self.rows.push(Row { offset, characters: before, start: start as u32, kind: word.kind });
            let length = end - start;
            match source[start..].first_chunk::<16>() {
                Some(sixteen) if length <= 16 => self.bytes[at..at + 16].copy_from_slice(sixteen),
                _ => self.bytes[at..at + length].copy_from_slice(&source[start..end]),
            }
            at += length;
            characters += word.characters;
            counts.alphabetic += usize::from(word.alphabetic);
            counts.solid += usize::from(word.solid);
            counts.solid_characters += if word.solid { word.characters } else { 0 };
        });
        let (offset, characters, start) = (at as u32, characters as u32, text.len() as u32);
        self.rows.push(Row { offset, characters, start, kind: Kind::Word });
        self.bytes[at..at + PADDING].fill(0);
        self.counts = counts;
    }

    pub fn count(&self) -> usize {
        self.rows.len().saturating_sub(1)
    }

    /// Where word `number` begins in the text, where it ends, and what it is to a sentence.
    #[inline(always)]
    pub fn place(&self, number: usize) -> (usize, usize, Kind) {
        let row = self.rows[number];
        (row.start as usize, (row.start + self.rows[number + 1].offset - row.offset) as usize, row.kind)
    }

    /// The bytes of `several` words from `number` on, without what was between them.
    #[inline(always)]
    pub fn joined(&self, number: usize, several: usize) -> &[u8] {
        &self.bytes[self.rows[number].offset as usize..self.rows[number + several].offset as usize]
    }

    #[inline(always)]
    pub fn characters(&self, number: usize, several: usize) -> usize {
        (self.rows[number + several].characters - self.rows[number].characters) as usize
    }

    #[inline(always)]
    pub fn length(&self, number: usize, several: usize) -> usize {
        (self.rows[number + several].offset - self.rows[number].offset) as usize
    }

    /// The sixteen bytes that lie `further` on from the start of word `number`, past its end and past the last word,
    /// where zeros are.
    #[inline(always)]
    pub fn sixteen(&self, number: usize, further: usize) -> u128 {
        let at = self.rows[number].offset as usize + further;
        u128::from_le_bytes(*self.bytes[at..].first_chunk::<16>().expect("the padding is that long"))
    }
}

#[inline(always)]
fn describe<const ASCII: bool>(word: &str, classes: &Classes) -> Described {
    let first = word.as_bytes()[0];
    if first.is_ascii_alphabetic() {
        let characters = if ASCII { word.len() } else { characters(word) };
        return Described { alphabetic: true, solid: true, characters, kind: Kind::Word };
    }
    if word.len() == 1 {
        let class = classes.of_byte(first);
        let kind = match class {
            class if class & ENDER != 0 => Kind::Ender,
            class if class & UNICODE_PUNCTUATION != 0 => Kind::Sign,
            _ => Kind::Word,
        };
        return Described { alphabetic: false, solid: class & PUNCTUATION == 0, characters: 1, kind };
    }
    describe_characters(word, classes)
}

fn characters(word: &str) -> usize {
    word.bytes().map(|byte| usize::from(byte as i8 >= -0x40)).sum()
}

#[inline(never)]
fn describe_characters(word: &str, classes: &Classes) -> Described {
    let (mut alphabetic, mut solid, mut characters) = (false, false, 0);
    for character in word.chars() {
        let class = classes.of(character);
        alphabetic |= class & LETTER != 0;
        solid |= class & PUNCTUATION == 0;
        characters += 1;
    }
    Described { alphabetic, solid, characters, kind: Kind::of(word, classes) }
}

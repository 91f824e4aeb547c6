//! The words of a text, laid out once for all rules: their bytes without the spaces between them, and what each is.

use crate::clean::words::class::{Classes, LETTER, PUNCTUATION};
use crate::clean::words::{each, Chunks};

/// What is read past the end of the bytes.
const PADDING: usize = 16;

pub struct Words {
    chunks: Chunks,
    classes: &'static Classes,
    /// The bytes of all words in a row.
    bytes: Vec<u8>,
    /// Where each word begins in `bytes`, and where the last one ends.
    offsets: Vec<u32>,
    /// How many characters come before each word, and how many there are.
    characters: Vec<u32>,
    /// Where each word begins in the text.
    starts: Vec<u32>,
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

impl Words {
    pub fn new() -> Self {
        Self {
            chunks: Chunks::new(),
            classes: Classes::get(),
            bytes: Vec::new(),
            offsets: Vec::new(),
            characters: Vec::new(),
            starts: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Lays out the words of `text`.
    pub fn lay_out(&mut self, text: &str) {
        self.offsets.clear();
        self.characters.clear();
        self.starts.clear();
        if self.bytes.len() < text.len() + PADDING {
            self.bytes.resize(text.len() + PADDING, 0);
        }
        let source = text.as_bytes();
        let (mut at, mut characters, mut counts) = (0, 0, Counts::default());
        each(text, &mut self.chunks, |start, end| {
            self.offsets.push(at as u32);
            self.characters.push(characters as u32);
            self.starts.push(start as u32);
            let length = end - start;
            match source[start..].first_chunk::<16>() {
                Some(sixteen) if length <= 16 => self.bytes[at..at + 16].copy_from_slice(sixteen),
                _ => self.bytes[at..at + length].copy_from_slice(&source[start..end]),
            }
            at += length;
            let (alphabetic, solid, long) = kind(&text[start..end], self.classes);
            characters += long;
            counts.alphabetic += usize::from(alphabetic);
            counts.solid += usize::from(solid);
            counts.solid_characters += if solid { long } else { 0 };
        });
        self.offsets.push(at as u32);
        self.characters.push(characters as u32);
        self.bytes[at..at + PADDING].fill(0);
        self.counts = counts;
    }

    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Where word `number` begins in the text, and where it ends.
    #[inline(always)]
    pub fn span(&self, number: usize) -> (usize, usize) {
        let start = self.starts[number] as usize;
        (start, start + (self.offsets[number + 1] - self.offsets[number]) as usize)
    }

    /// The bytes of `several` words from `number` on, without what was between them.
    #[inline(always)]
    pub fn joined(&self, number: usize, several: usize) -> &[u8] {
        &self.bytes[self.offsets[number] as usize..self.offsets[number + several] as usize]
    }

    #[inline(always)]
    pub fn characters(&self, number: usize, several: usize) -> usize {
        (self.characters[number + several] - self.characters[number]) as usize
    }

    #[inline(always)]
    pub fn length(&self, number: usize, several: usize) -> usize {
        (self.offsets[number + several] - self.offsets[number]) as usize
    }

    /// The next sixteen bytes from word `number` on, past its end and past the last word, where zeros are.
    #[inline(always)]
    pub fn sixteen(&self, number: usize) -> (u64, u64) {
        let at = self.offsets[number] as usize;
        let sixteen = self.bytes[at..].first_chunk::<16>().expect("the padding is that long");
        let whole = u128::from_le_bytes(*sixteen);
        (whole as u64, (whole >> 64) as u64)
    }

    /// Whether the `several` words from both places on are the same words.
    #[inline(always)]
    pub fn same(&self, left: usize, right: usize, several: usize) -> bool {
        let inner = |number| {
            let first = self.offsets[number];
            self.offsets[number + 1..number + several].iter().map(move |offset| offset - first)
        };
        self.joined(left, several) == self.joined(right, several) && inner(left).eq(inner(right))
    }
}

/// Whether the word has a letter, whether it has anything but punctuation, and how many characters it has.
#[inline(always)]
fn kind(word: &str, classes: &Classes) -> (bool, bool, usize) {
    let bytes = word.as_bytes();
    if bytes[0].is_ascii_alphabetic() {
        return (true, true, bytes.iter().map(|byte| usize::from(*byte as i8 >= -0x40)).sum());
    }
    if bytes.len() == 1 {
        let class = classes.of_byte(bytes[0]);
        return (false, class & PUNCTUATION == 0, 1);
    }
    kind_of_characters(word, classes)
}

#[inline(never)]
fn kind_of_characters(word: &str, classes: &Classes) -> (bool, bool, usize) {
    word.chars().fold((false, false, 0), |(alphabetic, solid, long), character| {
        let class = classes.of(character);
        (alphabetic | (class & LETTER != 0), solid | (class & PUNCTUATION == 0), long + 1)
    })
}

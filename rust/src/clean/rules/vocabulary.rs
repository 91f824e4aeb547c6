//! One number for equal words, kept from text to text: most words of a text were met before, so finding them again takes
//! one look. Numbers are never compared across texts, and what was met is forgotten between two texts when it is much.

use std::collections::HashMap;

use super::counted::Words;
use super::hash;

/// More distinct words than this are forgotten before the next text.
const MOST: usize = 150_000;

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    low: u64,
    high: u64,
    length: u32,
    number: u32,
}

#[derive(Default)]
pub struct Vocabulary {
    /// Of words of up to sixteen bytes; a length of zero is an empty entry.
    entries: Vec<Entry>,
    longer: HashMap<Box<[u8]>, u32>,
    /// By number, the last text that had the word.
    texts: Vec<u32>,
    text: u32,
}

impl Vocabulary {
    /// Writes the number of each word to `out`.
    pub fn number(&mut self, words: &Words, out: &mut Vec<u32>) {
        if self.texts.len() > MOST || self.entries.is_empty() || self.text == u32::MAX {
            *self = Self { entries: vec![Entry::default(); 1 << 12], ..Self::default() };
        }
        self.text += 1;
        out.clear();
        out.reserve(words.count());
        for place in 0..words.count() {
            let length = words.length(place, 1);
            let number = if length <= 16 {
                self.short(hash::cut(words.sixteen(place, 0), length), length)
            } else {
                self.long(words.joined(place, 1))
            };
            self.texts[number as usize] = self.text;
            out.push(number);
        }
    }

    #[inline(always)]
    fn short(&mut self, word: u128, length: usize) -> u32 {
        let (low, high, length) = (word as u64, (word >> 64) as u64, length as u32);
        let mask = self.entries.len() - 1;
        let mut at = hash::short(word, u64::from(length)) as usize & mask;
        loop {
            let entry = self.entries[at];
            if (entry.low, entry.high, entry.length) == (low, high, length) {
                return entry.number;
            }
            if entry.length == 0 {
                return self.add(at, Entry { low, high, length, number: self.texts.len() as u32 });
            }
            at = (at + 1) & mask;
        }
    }

    #[inline(never)]
    fn add(&mut self, at: usize, entry: Entry) -> u32 {
        self.entries[at] = entry;
        self.texts.push(0);
        if self.texts.len() * 2 > self.entries.len() {
            self.grow();
        }
        entry.number
    }

    fn grow(&mut self) {
        let more = vec![Entry::default(); self.entries.len() * 2];
        for entry in std::mem::replace(&mut self.entries, more) {
            if entry.length > 0 {
                let at = self.free(&entry);
                self.entries[at] = entry;
            }
        }
    }

    /// Where an entry that is not there has its place.
    fn free(&self, entry: &Entry) -> usize {
        let word = u128::from(entry.high) << 64 | u128::from(entry.low);
        let mut at = hash::short(word, u64::from(entry.length)) as usize & (self.entries.len() - 1);
        while self.entries[at].length > 0 {
            at = (at + 1) & (self.entries.len() - 1);
        }
        at
    }

    #[inline(never)]
    fn long(&mut self, word: &[u8]) -> u32 {
        if let Some(number) = self.longer.get(word) {
            return *number;
        }
        let number = self.texts.len() as u32;
        self.longer.insert(word.into(), number);
        self.texts.push(0);
        number
    }

    /// Whether the text that was numbered last has this word.
    pub fn has(&self, word: &[u8]) -> bool {
        let number = if word.len() <= 16 { self.find(word) } else { self.longer.get(word).copied() };
        number.is_some_and(|number| self.texts[number as usize] == self.text)
    }

    fn find(&self, word: &[u8]) -> Option<u32> {
        let mut sixteen = [0; 16];
        sixteen[..word.len()].copy_from_slice(word);
        let whole = u128::from_le_bytes(sixteen);
        let mut at = hash::short(whole, word.len() as u64) as usize & (self.entries.len() - 1);
        while self.entries[at].length > 0 {
            let entry = self.entries[at];
            if (entry.low, entry.high, entry.length as usize) == (whole as u64, (whole >> 64) as u64, word.len()) {
                return Some(entry.number);
            }
            at = (at + 1) & (self.entries.len() - 1);
        }
        None
    }
}

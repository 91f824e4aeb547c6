//! A window of 64 bytes as masks, one a character class, in which every byte of a character carries its class.
//!
//! Bits 0–4 repeat the end of the window before, so that what precedes a boundary is in sight; bits 5–60 are what this
//! window decides; bits 61–63 are a look ahead. Short-range rules then need no carry from window to window.

use super::simd::{Ascii, Wide};
use super::unicode::{self, Tables};

/// Bytes of context before those that a window decides: a character of four bytes and the one before it.
pub const BACK: usize = 5;
/// Bytes that a window decides. The three after them are the longest whitespace character.
pub const STEP: usize = 56;
/// The bits that a window decides.
pub const DECIDED: u64 = ((1 << STEP) - 1) << BACK;
/// The context bits.
pub const CONTEXT: u64 = (1 << BACK) - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub letter: u64,
    pub upper: u64,
    pub lower: u64,
    pub caseless: u64,
    pub mark: u64,
    pub number: u64,
    pub space: u64,
    pub newline: u64,
    pub blank: u64,
    pub apostrophe: u64,
    pub slash: u64,
    /// Bytes of a character after its first.
    pub rest: u64,
}

impl Window {
    #[inline(always)]
    pub fn of_ascii(ascii: &Ascii) -> Self {
        Self {
            letter: ascii.letter,
            upper: ascii.upper,
            lower: ascii.lower,
            caseless: 0,
            mark: 0,
            number: ascii.digit,
            space: ascii.space,
            newline: ascii.newline,
            blank: ascii.blank,
            apostrophe: ascii.apostrophe,
            slash: ascii.slash,
            rest: 0,
        }
    }

    #[inline(always)]
    pub fn add(&mut self, wide: &Wide) {
        let masks = &wide.classes;
        self.rest = wide.rest;
        self.letter |=
            masks[unicode::UPPER as usize] | masks[unicode::LOWER as usize] | masks[unicode::CASELESS as usize];
        self.upper |= masks[unicode::UPPER as usize];
        self.lower |= masks[unicode::LOWER as usize];
        self.caseless |= masks[unicode::CASELESS as usize];
        self.mark |= masks[unicode::MARK as usize];
        self.number |= masks[unicode::NUMBER as usize];
        self.space |= masks[unicode::SPACE as usize];
    }

    /// Adds the characters beyond ASCII one by one; `origin` is the position of bit 0 in the text.
    #[inline(always)]
    pub fn add_each(&mut self, high: u64, tables: &Tables, text: &[u8], origin: isize) {
        let mut wide = Wide { classes: [0; unicode::CLASSES], rest: 0 };
        let mut todo = high;
        // A window may begin inside a character.
        if todo & 1 == 1 && origin > 0 {
            let origin = origin as usize;
            for back in 1..=origin.min(3) {
                let (class, length) = tables.at(text, origin - back);
                if length > back {
                    let inside = (1 << (length - back)) - 1;
                    wide.classes[class as usize] |= inside;
                    wide.rest |= inside;
                    todo &= !inside;
                }
            }
        }
        while todo != 0 {
            let bit = todo.trailing_zeros();
            let (class, length) = tables.at(text, (origin + bit as isize) as usize);
            let bytes = ((1u64 << length) - 1) << bit;
            wide.classes[class as usize] |= bytes;
            wide.rest |= bytes & (bytes << 1);
            todo &= !bytes;
        }
        self.add(&wide);
    }

    /// The first bytes of the characters whose last bytes are in `lasts`; characters of up to three bytes.
    #[inline(always)]
    pub fn firsts_of<const WIDE: bool>(&self, lasts: u64) -> u64 {
        if !WIDE {
            return lasts;
        }
        let second = (lasts & self.rest) >> 1;
        let third = (second & self.rest) >> 1;
        (lasts | second | third) & !self.rest
    }

    /// All bytes of the characters whose first bytes are in `firsts`.
    #[inline(always)]
    pub fn whole<const WIDE: bool>(&self, firsts: u64) -> u64 {
        if !WIDE {
            return firsts;
        }
        let two = firsts | (firsts << 1 & self.rest);
        let three = two | (two << 1 & self.rest);
        three | (three << 1 & self.rest)
    }
}

/// Bits whose byte is of another class than the byte before, where two masks tell four classes apart.
#[inline(always)]
pub fn changes(one: u64, two: u64) -> u64 {
    (one ^ one << 1) | (two ^ two << 1)
}

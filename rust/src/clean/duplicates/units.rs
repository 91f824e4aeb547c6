//! A text as hashes of its units: words without their case, and single characters of scripts without spaces.
//!
//! A word is a run of letters, marks and numbers; whatever else stands between words does not count. Its hash reads
//! eight bytes at a time, so that most words of English are one load, one mask and one multiplication.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

const GAP: u8 = 0;
const PART: u8 = 1;
/// Part of a word, and another character when its case is taken off.
const CASED: u8 = 2;
/// A unit of its own.
const LONE: u8 = 3;

const PARTS: &str = r"[\p{L}\p{M}\p{N}]";
/// Scripts without spaces; the long-vowel mark of Kana belongs to no script.
const LONES: &str = r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]&&[\p{L}\p{M}\p{N}]]";

static KINDS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut kinds = vec![GAP; 0x11_0000];
    for (kind, source) in [(PART, PARTS), (LONE, LONES)] {
        let hir = regex_syntax::parse(source).expect("a class of the regex engine");
        let HirKind::Class(Class::Unicode(ranges)) = hir.kind() else { unreachable!("{source} is a class") };
        for range in ranges.iter() {
            kinds[range.start() as usize..=range.end() as usize].fill(kind);
        }
    }
    for c in ('\0'..=char::MAX).filter(|c| !c.to_lowercase().eq([*c]) || *c == 'ς') {
        let kind = &mut kinds[c as usize];
        if *kind == PART {
            *kind = CASED;
        }
    }
    kinds
});

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

/// The two halves of a product, folded: every bit of `x` decides about half of the bits that come out.
#[inline(always)]
pub(super) fn fold(x: u64, factor: u64) -> u64 {
    let product = u128::from(x) * u128::from(factor);
    product as u64 ^ (product >> 64) as u64
}

/// Makes units of texts, and keeps what it needs between them.
#[derive(Default)]
pub(super) struct Units {
    pub hashes: Vec<u64>,
    word: Vec<u8>,
}

impl Units {
    /// Fills `hashes` with those of a text.
    pub fn read(&mut self, text: &str) {
        self.hashes.clear();
        let (bytes, mut at) = (text.as_bytes(), 0);
        while at < bytes.len() {
            let (hash, end) = plain_word(bytes, at);
            if end < bytes.len() && bytes[end] >= 0x80 {
                at = self.beyond_ascii(text, at, end);
            } else {
                if end > at {
                    self.hashes.push(hash);
                }
                at = end + 1;
            }
        }
    }

    /// Goes on where a word of ASCII, or none, ends with a byte that is not, and returns where it stopped.
    #[cold]
    #[inline(never)]
    fn beyond_ascii(&mut self, text: &str, start: usize, end: usize) -> usize {
        self.word.clear();
        self.word.extend(text.as_bytes()[start..end].iter().map(|byte| byte | 0x20));
        let kinds = &**KINDS;
        let mut at = end;
        for c in text[end..].chars() {
            match kinds[c as usize] {
                GAP => break,
                LONE => {
                    self.finish();
                    self.word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    self.finish();
                }
                PART => self.word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                _ => self.lower(c),
            }
            at += c.len_utf8();
        }
        self.finish();
        // the gap itself, unless the text ends
        at + text[at..].chars().next().map_or(0, char::len_utf8)
    }

    fn lower(&mut self, c: char) {
        // the two small sigmas are one letter
        for lower in if c == 'ς' { 'Σ' } else { c }.to_lowercase() {
            self.word.extend_from_slice(lower.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn finish(&mut self) {
        if !self.word.is_empty() {
            self.hashes.push(self.word.chunks(8).fold(SEED, |hash, block| fold(hash ^ padded(block), FACTOR)));
            self.word.clear();
        }
    }
}

fn padded(block: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight[..block.len()].copy_from_slice(block);
    u64::from_le_bytes(eight)
}

/// The hash of the letters and digits of ASCII from `at` on, and where they end.
#[inline(always)]
fn plain_word(bytes: &[u8], mut at: usize) -> (u64, usize) {
    let mut hash = SEED;
    loop {
        let block = match bytes.get(at..at + 8) {
            Some(eight) => u64::from_le_bytes(eight.try_into().expect("eight bytes")),
            None => padded(&bytes[at.min(bytes.len())..]),
        };
        let lower = block | (ONES * 0x20);
        let others = others(block, lower);
        if others == 0 {
            hash = fold(hash ^ lower, FACTOR);
            at += 8;
            continue;
        }
        let length = others.trailing_zeros() / 8;
        if length > 0 {
            hash = fold(hash ^ (lower & !(u64::MAX << (8 * length))), FACTOR);
        }
        return (hash, at + length as usize);
    }
}

/// The high bit of every byte that is no letter or digit of ASCII; `lower` is the block with bit 5 set.
#[inline(always)]
fn others(block: u64, lower: u64) -> u64 {
    let seven = |bytes: u64| bytes & !HIGH;
    // adding what lacks to 0x80 sets the high bit of those that are at least so much; no carry leaves a byte
    let at_least = |bytes: u64, byte: u8| seven(bytes) + ONES * u64::from(0x80 - byte);
    let letter = at_least(lower, b'a') & !at_least(lower, b'z' + 1);
    let digit = at_least(block, b'0') & !at_least(block, b'9' + 1);
    (!(letter | digit) | block) & HIGH
}

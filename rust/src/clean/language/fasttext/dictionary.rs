//! Words to rows of the input matrix: a word's own row and those of the letters in it.

use std::ops::Range;

use super::fields::Fields;
use super::{Fault, Settings};

/// What ends a line; it has a row, but no letters.
pub(super) const LINE_END: &[u8] = b"</s>";
const LABEL: &[u8] = b"__label__";

pub(super) struct Dictionary {
    /// Where in the file the words and then the labels lie.
    entries: Vec<Range<usize>>,
    pub words: usize,
    /// How often each label stood in the training text.
    pub label_counts: Vec<i64>,
    slots: Vec<u32>,
    pruned: Option<Pruned>,
    /// 2^64 / bucket, rounded up: the remainder of a 32-bit hash without a division.
    reciprocal: u64,
    settings: Settings,
}

impl Dictionary {
    pub fn read(file: &[u8], fields: &mut Fields, settings: &Settings) -> Result<Self, Fault> {
        let [size, words, labels] = [fields.i32()?, fields.i32()?, fields.i32()?];
        let _tokens = fields.i64()?;
        let pruned = fields.i64()?;
        if size < 0 || words < 0 || labels < 1 || i64::from(words) + i64::from(labels) != i64::from(size) {
            return Err(Fault::Damaged("it does not hold as many words and labels as it says"));
        }
        // an entry takes ten bytes at least
        if size as usize > fields.left() / 10 {
            return Err(Fault::Short);
        }
        let mut made = Self {
            entries: Vec::with_capacity(size as usize),
            words: words as usize,
            label_counts: Vec::with_capacity(labels as usize),
            slots: vec![u32::MAX; (size as usize * 2).next_power_of_two()],
            pruned: None,
            reciprocal: (u64::MAX / u64::from(settings.bucket.max(1))).wrapping_add(1),
            settings: settings.clone(),
        };
        for number in 0..size {
            made.read_entry(file, fields, number < words)?;
        }
        made.pruned = if pruned < 0 { None } else { Some(Pruned::read(file, fields, pruned)?) };
        Ok(made)
    }

    fn read_entry(&mut self, file: &[u8], fields: &mut Fields, is_word: bool) -> Result<(), Fault> {
        let word = fields.word()?;
        let count = fields.i64()?;
        if fields.byte()? != u8::from(!is_word) {
            return Err(Fault::Damaged("its words and labels are not in order"));
        }
        if !is_word {
            self.label_counts.push(count);
        }
        let slot = self.slot(file, &file[word.clone()], hash(&file[word.clone()]));
        self.slots[slot] = self.entries.len() as u32;
        self.entries.push(word);
        Ok(())
    }

    /// Where `word` stands, or where it would.
    fn slot(&self, file: &[u8], word: &[u8], hash: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while let Some(entry) = self.entries.get(self.slots[slot] as usize) {
            if &file[entry.clone()] == word {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn find(&self, file: &[u8], word: &[u8], hash: u32) -> Option<usize> {
        let entry = self.slots[self.slot(file, word, hash)];
        (entry != u32::MAX).then_some(entry as usize)
    }

    /// Whether a token is a label, known or not: it says nothing of the text.
    pub fn is_label(&self, file: &[u8], word: &[u8], hash: u32) -> bool {
        self.find(file, word, hash).map_or_else(|| word.starts_with(LABEL), |entry| entry >= self.words)
    }

    pub fn label<'a>(&self, file: &'a [u8], number: usize) -> &'a [u8] {
        &file[self.entries[self.words + number].clone()]
    }

    /// How many rows the input matrix must have for every row that can be asked for.
    pub fn rows(&self) -> usize {
        let grams = match &self.pruned {
            Some(pruned) => pruned.rows,
            None if self.settings.grams() => self.settings.bucket as usize,
            None => 0,
        };
        self.words + grams
    }

    /// The rows of a token: its own, and those of its letters. `framed` is the token between `<` and `>`.
    pub fn token_rows(&self, file: &[u8], framed: &[u8], hash: u32, mut row: impl FnMut(usize)) {
        let token = &framed[1..framed.len() - 1];
        match self.find(file, token, hash) {
            Some(entry) if entry >= self.words => return,
            Some(entry) => row(entry),
            None if token.starts_with(LABEL) => return,
            None => {}
        }
        if token != LINE_END {
            self.letter_rows(framed, row);
        }
    }

    /// The rows of the `least` to `most` letters at each place of `word`, but for its first and last mark alone.
    #[inline]
    fn letter_rows(&self, word: &[u8], mut row: impl FnMut(usize)) {
        let Settings { letters: (least, most), .. } = self.settings;
        for start in 0..word.len() {
            if most <= 0 || continues(word[start]) {
                continue;
            }
            let (mut end, mut hash) = (start, SEED);
            for length in 1..=most {
                if end == word.len() {
                    break;
                }
                hash = step(hash, word[end]);
                end += 1;
                while end < word.len() && continues(word[end]) {
                    hash = step(hash, word[end]);
                    end += 1;
                }
                if length >= least && !(length == 1 && (start == 0 || end == word.len())) {
                    if let Some(found) = self.gram_row(self.remainder(hash)) {
                        row(found);
                    }
                }
            }
        }
    }

    /// The rows of two and more words that follow one another.
    pub fn phrase_rows(&self, hashes: &[u32], mut row: impl FnMut(usize)) {
        for (start, first) in hashes.iter().enumerate() {
            let mut hash = *first as i32 as i64 as u64;
            for next in hashes[start + 1..].iter().take(self.settings.phrase as usize - 1) {
                hash = hash.wrapping_mul(116_049_371).wrapping_add(*next as i32 as i64 as u64);
                if let Some(found) = self.gram_row((hash % u64::from(self.settings.bucket)) as u32) {
                    row(found);
                }
            }
        }
    }

    #[inline]
    fn remainder(&self, hash: u32) -> u32 {
        let low = self.reciprocal.wrapping_mul(u64::from(hash));
        ((u128::from(low) * u128::from(self.settings.bucket)) >> 64) as u32
    }

    #[inline]
    fn gram_row(&self, gram: u32) -> Option<usize> {
        let gram = match &self.pruned {
            Some(pruned) => pruned.get(gram)?,
            None => gram,
        };
        Some(self.words + gram as usize)
    }
}

/// The grams that a model kept when it was made small, and their rows.
struct Pruned {
    /// A bit for the low bits of every gram that was kept: most grams were not, and end here.
    seen: Vec<u64>,
    slots: Vec<(u32, u32)>,
    rows: usize,
}

const EMPTY: u32 = u32::MAX;

impl Pruned {
    fn read(file: &[u8], fields: &mut Fields, count: i64) -> Result<Self, Fault> {
        let range = fields.run(count, 8)?;
        let pairs = file[range].as_chunks::<8>().0;
        let size = (pairs.len() * 2).next_power_of_two();
        let mut made = Self { seen: vec![0; 1 << 13], slots: vec![(EMPTY, 0); size], rows: 0 };
        for pair in pairs {
            let [gram, row] = [0, 4].map(|at| i32::from_le_bytes(pair[at..at + 4].try_into().expect("four bytes")));
            if gram < 0 || row < 0 {
                return Err(Fault::Damaged("a kept gram has no row"));
            }
            made.keep(gram as u32, row as u32);
        }
        Ok(made)
    }

    fn keep(&mut self, gram: u32, row: u32) {
        let slot = self.slot(gram);
        self.slots[slot] = (gram, row);
        let bit = gram as usize & 0x7_ffff;
        self.seen[bit / 64] |= 1 << (bit % 64);
        self.rows = self.rows.max(row as usize + 1);
    }

    fn slot(&self, gram: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = (gram.wrapping_mul(0x9e37_79b1) >> 7) as usize & mask;
        while self.slots[slot].0 != EMPTY && self.slots[slot].0 != gram {
            slot = (slot + 1) & mask;
        }
        slot
    }

    #[inline]
    fn get(&self, gram: u32) -> Option<u32> {
        let bit = gram as usize & 0x7_ffff;
        if self.seen[bit / 64] >> (bit % 64) & 1 == 0 {
            return None;
        }
        let (found, row) = self.slots[self.slot(gram)];
        (found == gram).then_some(row)
    }
}

const SEED: u32 = 2_166_136_261;

/// FNV-1a as fastText has it: a byte counts as a signed one.
#[inline]
fn step(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as i8 as u32).wrapping_mul(16_777_619)
}

#[inline]
pub(super) fn hash(word: &[u8]) -> u32 {
    word.iter().fold(SEED, |hash, byte| step(hash, *byte))
}

#[inline]
fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// The next token of a line from `at`, as fastText cuts it, and where the one after it begins.
#[inline]
pub(super) fn next_token(text: &[u8], mut at: usize) -> Option<Range<usize>> {
    let blank = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0);
    while at < text.len() && blank(text[at]) {
        at += 1;
    }
    let start = at;
    while at < text.len() && !blank(text[at]) {
        at += 1;
    }
    (start < at).then_some(start..at)
}

//! Words that a text has already had, and their rows: half the words of a page are a few dozen.

/// Places that words fall on by their hash; the last word of each stays.
#[derive(Default)]
pub(super) struct Cache {
    words: Vec<Word>,
    /// Whose rows these are.
    model: u64,
    /// The rows of the word that is asked for.
    rows: Vec<u32>,
}

#[derive(Clone)]
struct Word {
    bytes: [u8; LONGEST],
    length: u8,
    count: u8,
    rows: [u32; MOST],
}

const EMPTY: Word = Word { bytes: [0; LONGEST], length: u8::MAX, count: 0, rows: [0; MOST] };
const LONGEST: usize = 22;
/// Rows of a word that is kept: those of a word of nine letters, where grams have two to four.
const MOST: usize = 32;
const PLACES: usize = 4096;

impl Cache {
    /// Forgets the words of another model.
    pub fn fit(&mut self, model: u64) {
        if self.model != model {
            self.words.clear();
            self.words.resize(PLACES, EMPTY);
            self.model = model;
        }
    }

    /// The rows of a word, which `list` gives where they are not here.
    #[inline]
    pub fn rows(&mut self, word: &[u8], hash: u32, list: impl FnOnce(&mut Vec<u32>)) -> &[u32] {
        let known = &mut self.words[(hash ^ hash >> 15) as usize % PLACES];
        if usize::from(known.length) == word.len() && known.bytes.get(..word.len()) == Some(word) {
            return &known.rows[..usize::from(known.count)];
        }
        self.rows.clear();
        list(&mut self.rows);
        if word.len() <= LONGEST && self.rows.len() <= MOST {
            (known.length, known.count) = (word.len() as u8, self.rows.len() as u8);
            known.bytes[..word.len()].copy_from_slice(word);
            known.rows[..self.rows.len()].copy_from_slice(&self.rows);
        }
        &self.rows
    }
}

//! How many of a list of words a text has.

use super::counted::Words;
use super::repetition::word_hash;

pub struct StopWords {
    words: Vec<Box<[u8]>>,
    /// One bit for each of 64 values of a word's hash.
    slots: u64,
}

impl StopWords {
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<Box<[u8]>> = words.into_iter().map(|word| word.as_bytes().into()).collect();
        words.sort();
        words.dedup();
        let mut laid = Words::new();
        let mut slots = 0;
        for word in &words {
            laid.lay_out(std::str::from_utf8(word).expect("it was a string"));
            // A stop word that is cut in two equals no word.
            if laid.count() == 1 {
                slots |= slot(word_hash(&laid, 0));
            }
        }
        Self { words, slots }
    }

    /// How many of the words are among those of a text.
    pub fn distinct(&self, words: &Words) -> usize {
        let mut found: u128 = 0;
        let mut more = std::collections::BTreeSet::new();
        for number in 0..words.count() {
            if slot(word_hash(words, number)) & self.slots == 0 {
                continue;
            }
            if let Ok(at) = self.words.binary_search_by(|word| (**word).cmp(words.joined(number, 1))) {
                if at < 128 {
                    found |= 1 << at;
                } else {
                    more.insert(at);
                }
            }
        }
        found.count_ones() as usize + more.len()
    }
}

fn slot(hash: u64) -> u64 {
    1 << (hash >> 58)
}

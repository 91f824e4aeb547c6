//! The n-gram that ends at each word: one multiplication and addition a word.

use std::collections::VecDeque;

use super::fold::Word;

/// A word counts two, a character of writing without blanks one: thirteen words say about what 26 characters say.
fn weight(word: &Word) -> usize {
    2 - usize::from(word.is_character)
}

const BASE: u64 = 0x9e6c_63d0_a3b5_4e25;

/// The last words that weigh enough, and the hash of all of them.
pub struct Window {
    needed: usize,
    /// `BASE` to the power of each number of words.
    powers: Vec<u64>,
    words: VecDeque<Word>,
    held: usize,
    hash: u64,
}

impl Window {
    pub fn new(n: usize) -> Self {
        let powers = std::iter::successors(Some(1u64), |power| Some(power.wrapping_mul(BASE))).take(2 * n + 2);
        Self { needed: 2 * n, powers: powers.collect(), words: VecDeque::new(), held: 0, hash: 0 }
    }

    pub fn clear(&mut self) {
        self.words.clear();
        (self.held, self.hash) = (0, 0);
    }

    /// Takes one more word, and gives the hash of the gram that ends with it: as many words before it as are needed,
    /// and no more.
    #[inline]
    pub fn push(&mut self, word: Word) -> Option<u64> {
        self.words.push_back(word);
        self.held += weight(&word);
        self.hash = self.hash.wrapping_mul(BASE).wrapping_add(word.hash);
        while let Some(first) = self.words.front().filter(|first| self.held - weight(first) >= self.needed) {
            self.hash = self.hash.wrapping_sub(first.hash.wrapping_mul(self.powers[self.words.len() - 1]));
            self.held -= weight(first);
            self.words.pop_front();
        }
        (self.held >= self.needed).then(|| self.hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (self.hash >> 32))
    }

    /// Where the gram begins and ends in the text.
    pub fn span(&self) -> std::ops::Range<usize> {
        let ends = self.words.front().zip(self.words.back());
        ends.map_or(0..0, |(first, last)| first.start..last.end)
    }
}

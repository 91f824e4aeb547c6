//! How many of a list of words a text has.

use super::vocabulary::Vocabulary;

pub struct StopWords(Vec<Box<[u8]>>);

impl StopWords {
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut words: Vec<Box<[u8]>> = words.into_iter().map(|word| word.as_bytes().into()).collect();
        words.sort();
        words.dedup();
        Self(words)
    }

    /// How many the text has that was numbered last.
    pub fn count(&self, vocabulary: &Vocabulary) -> usize {
        self.0.iter().filter(|word| vocabulary.has(word)).count()
    }
}

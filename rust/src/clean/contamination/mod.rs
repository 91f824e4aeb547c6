//! Test items that stand in documents: n-grams of evaluation files, looked up in every text.
//!
//! datatrove's way: the n-grams of an item that hold a word of its answer, so that a question alone accuses nobody; or
//! GPT-3's, every n-gram of the item. Words are compared without case, marks and punctuation, numbers as one, see
//! [`fold`]. A hash is looked up for each word of a text, and where it is known the words themselves are compared: a
//! collision never removes a page.

mod class;
mod fold;
mod index;
mod window;

pub use index::{Hit, Index, Item, Scratch, Task};

/// So many words make a gram, as in GPT-3's paper.
pub const WORDS: usize = 13;

/// Which n-grams of an item are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Grams {
    /// Those that hold a word of the answer.
    #[default]
    Answer,
    /// All of them.
    Whole,
}

#[cfg(test)]
mod tests;

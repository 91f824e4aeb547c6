//! Pre-tokenizers: cut text into the pieces that byte-pair merges never cross.
//!
//! # What an invalid byte is
//! Every byte sequence is text. A byte that belongs to no well-formed UTF-8 sequence stands for U+FFFD, one per byte: a
//! symbol, neither letter, number nor whitespace. Whether a sequence is well-formed depends on its own bytes alone, so a
//! scanner may start at any character.

mod names;
mod regex;

pub use names::Named;

use crate::error::Result;

/// How text is cut into pre-tokens. Share it behind an `Arc`.
pub struct Pattern {
    named: Option<Named>,
    regex: regex::RegexScanner,
}

impl Pattern {
    /// `gpt2`, `cl100k`, `llama3`, `qwen2`, `o200k`, the regex of one of these, or any other regex. Text that a regex
    /// leaves between two matches is a pre-token as well, as in Hugging Face's `Split(behavior="isolated")`.
    pub fn new(name_or_regex: &str) -> Result<Self> {
        let named = Named::find(name_or_regex);
        let regex = regex::RegexScanner::new(named.map_or(name_or_regex, |named| named.regex()))?;
        Ok(Self { named, regex })
    }

    /// The name, where the pattern has one.
    pub fn name(&self) -> Option<&'static str> {
        self.named.map(Named::name)
    }

    /// The reference regex.
    pub fn regex(&self) -> &str {
        self.regex.as_str()
    }

    /// The regex to write into a tokenizer.json: it means the same in Hugging Face's engine.
    pub fn portable_regex(&self) -> &str {
        self.named.map_or(self.regex.as_str(), |named| named.portable_regex())
    }

    /// Clears `ends` and fills it with the ends, relative to `start`, of successive pre-tokens from `start`, which must
    /// be a boundary. Returns where the next call starts, `text.len()` when done. Each call does a bounded batch.
    pub fn scan(&self, text: &[u8], start: usize, ends: &mut Vec<u32>) -> usize {
        self.regex.scan(text, start, ends)
    }

    /// A position p in (low, high] such that the pre-tokens of `text[..p]` followed by those of `text[p..]` are those
    /// of `text`, whatever text follows it; `None` if there is none, or none that can be proved.
    pub fn safe_cut(&self, _text: &[u8], _low: usize, _high: usize) -> Option<usize> {
        None
    }
}

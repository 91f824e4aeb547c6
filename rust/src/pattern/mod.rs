//! Pre-tokenizers: cut text into the pre-tokens that byte-pair merges never cross.
//!
//! # What an invalid byte is
//! Every byte sequence is text. A byte that belongs to no well-formed UTF-8 sequence stands for U+FFFD, one per byte: a
//! symbol, neither letter, number nor whitespace. Whether a sequence is well-formed depends on its own bytes alone, so
//! a scanner may start at any character.

mod cut;
mod names;
mod portable;
mod regex;
mod rules;
mod scan;
mod simd;
mod unicode;
mod window;

#[cfg(test)]
mod tests;

pub use names::Named;
pub use portable::{portable, Portable};
pub use simd::Variant;

use crate::error::Result;

/// How text is cut into pre-tokens. Share it behind an `Arc`.
pub struct Pattern {
    scanner: Scanner,
}

enum Scanner {
    Named(Named, Variant),
    Regex(Box<regex::RegexScanner>),
}

impl Pattern {
    /// `gpt2`, `cl100k`, `llama3`, `qwen2`, `o200k` or the regex of one of these, by a hand-written scanner; else any
    /// regex. Text that a regex leaves between two matches is a pre-token as well, as in Hugging Face's
    /// `Split(behavior="isolated")`.
    pub fn new(name_or_regex: &str) -> Result<Self> {
        match Named::find(name_or_regex) {
            Some(named) => Ok(Self { scanner: Scanner::Named(named, Variant::best()) }),
            None => Self::from_regex(name_or_regex),
        }
    }

    /// The pattern of a regex, by a hand-written scanner where it is that of a name; a name is a regex like any other.
    pub fn of_regex(regex: &str) -> Result<Self> {
        let known = Named::ALL.into_iter().find(|named| [named.regex(), named.portable_regex()].contains(&regex));
        known.map_or_else(
            || Self::from_regex(regex),
            |named| Ok(Self { scanner: Scanner::Named(named, Variant::best()) }),
        )
    }

    /// The regex engine for any pattern, a named one's regex included: the oracle of the scanners.
    pub fn from_regex(regex: &str) -> Result<Self> {
        Ok(Self { scanner: Scanner::Regex(Box::new(regex::RegexScanner::new(regex)?)) })
    }

    /// The scanner of a named pattern on one of [`Variant::available`], for tests and benchmarks.
    pub fn on(named: Named, variant: Variant) -> Self {
        assert!(Variant::available().contains(&variant), "this processor has no {variant:?}");
        Self { scanner: Scanner::Named(named, variant) }
    }

    /// The name, where the pattern has one.
    pub fn name(&self) -> Option<&'static str> {
        match &self.scanner {
            Scanner::Named(named, _) => Some(named.name()),
            Scanner::Regex(_) => None,
        }
    }

    /// The reference regex.
    pub fn regex(&self) -> &str {
        match &self.scanner {
            Scanner::Named(named, _) => named.regex(),
            Scanner::Regex(regex) => regex.as_str(),
        }
    }

    /// The regex to write into a tokenizer.json: it means the same in Hugging Face's engine.
    pub fn portable_regex(&self) -> &str {
        match &self.scanner {
            Scanner::Named(named, _) => named.portable_regex(),
            Scanner::Regex(regex) => regex.as_str(),
        }
    }

    /// Clears `ends` and fills it with the ends, relative to `start`, of successive pre-tokens from `start`, which must
    /// be a boundary. Returns where the next call starts, `text.len()` when done. Each call does a bounded batch.
    /// A pre-token of more than 2 GiB is cut. Fails where a regex of your own takes more steps than it may.
    pub fn scan(&self, text: &[u8], start: usize, ends: &mut Vec<u32>) -> Result<usize> {
        match &self.scanner {
            Scanner::Named(named, variant) => Ok(scan::scan(*named, *variant, text, start, ends)),
            Scanner::Regex(regex) => regex.scan(text, start, ends),
        }
    }

    /// A position p in (low, high] such that the pre-tokens of `text[..p]` followed by those of `text[p..]` are those
    /// of `text`, whatever text follows it: the last such; `None` if there is none, or none that can be proved, as with
    /// a regex of your own.
    pub fn safe_cut(&self, text: &[u8], low: usize, high: usize) -> Option<usize> {
        match &self.scanner {
            Scanner::Named(named, _) => cut::last_between(*named, text, low, high),
            Scanner::Regex(_) => None,
        }
    }
}

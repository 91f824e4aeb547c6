//! Where one document of a plain text ends and the next begins.

use std::sync::Arc;

use memchr::memmem::{Finder, FinderRev};

use crate::error::{Error, Result};

/// The end of a document and the start of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    pub end: usize,
    pub next: usize,
}

/// How `--split` finds documents. Cheap to clone.
#[derive(Clone)]
pub enum Separator {
    /// A literal string stands between documents and belongs to none.
    Literal(Arc<Literal>),
    /// One or more lines of nothing but spaces stand between documents.
    Blank,
    /// A file is one document.
    File,
    /// A line is one document; also how a jsonl file is cut into blocks.
    Line,
}

pub struct Literal {
    text: Vec<u8>,
    forward: Finder<'static>,
    backward: FinderRev<'static>,
}

impl Separator {
    /// What `--split` means, wherever it is given: `blank`, `line`, `file`, or a literal string.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "blank" => Ok(Self::Blank),
            "line" => Ok(Self::Line),
            "file" => Ok(Self::File),
            "" => Err(Error::usage("--split was given nothing to split at").hint("give a string, blank, line or file")),
            text => Ok(Self::literal(text)),
        }
    }

    pub fn literal(text: &str) -> Self {
        let text = text.as_bytes().to_vec();
        let forward = Finder::new(&text).into_owned();
        let backward = FinderRev::new(&text).into_owned();
        Self::Literal(Arc::new(Literal { text, forward, backward }))
    }

    /// `<|endoftext|>`, which splits nothing where a file has none.
    pub fn end_of_text() -> Self {
        Self::literal("<|endoftext|>")
    }

    /// The first break at or after `from`. Where `complete` is false the text goes on, and a break that could still
    /// grow at its end is not reported. Takes time in what lies before the break, whatever that is.
    pub fn first(&self, text: &[u8], from: usize, complete: bool) -> Option<Break> {
        match self {
            Self::Literal(literal) => {
                let end = from + literal.forward.find(&text[from..])?;
                Some(Break { end, next: end + literal.text.len() })
            }
            Self::Line => {
                let at = from + memchr::memchr(b'\n', &text[from..])?;
                Some(Break { end: line_end(text, from, at), next: at + 1 })
            }
            Self::File => None,
            Self::Blank => {
                for at in memchr::memchr_iter(b'\n', &text[from..]) {
                    let run = Run::at(text, from + at);
                    match run.next {
                        Some(next) if complete || !run.at_end => {
                            return Some(Break { end: line_end(text, from, from + at), next });
                        }
                        // every further newline lies in the same run, which reaches the end of what is there
                        _ if run.at_end => return None,
                        _ => {}
                    }
                }
                None
            }
        }
    }

    /// The last break of a text that goes on behind its end.
    pub fn last(&self, text: &[u8]) -> Option<Break> {
        match self {
            Self::Literal(literal) => {
                let end = literal.backward.rfind(text)?;
                Some(Break { end, next: end + literal.text.len() })
            }
            Self::Line => {
                let at = memchr::memrchr(b'\n', text)?;
                Some(Break { end: line_end(text, 0, at), next: at + 1 })
            }
            Self::File => None,
            Self::Blank => {
                // a run that reaches the end may go on
                let mut before = solid(text);
                while let Some(last) = memchr::memrchr(b'\n', &text[..before]) {
                    let start = solid(&text[..last]);
                    if let Some(first) = memchr::memchr(b'\n', &text[start..last]) {
                        return Some(Break { end: line_end(text, 0, start + first), next: last + 1 });
                    }
                    before = start;
                }
                None
            }
        }
    }

    /// Where a search that goes on behind `text` must begin to see a break that `text` holds the beginning of: all
    /// that was looked at before that place is done with.
    pub fn tail(&self, text: &[u8]) -> usize {
        match self {
            Self::Literal(literal) => text.len() - (literal.text.len() - 1).min(text.len()),
            Self::Blank => {
                let start = solid(text);
                if text[start..].contains(&b'\n') {
                    start
                } else {
                    text.len()
                }
            }
            Self::File | Self::Line => text.len(),
        }
    }

    /// How much of `text`, which goes on where a searched part ended, must be added to that part so that a break
    /// that straddles the place is seen as a whole.
    pub fn head(&self, text: &[u8]) -> usize {
        match self {
            Self::Literal(literal) => (literal.text.len() - 1).min(text.len()),
            Self::Blank => text.iter().position(|&byte| !blank(byte)).map_or(text.len(), |solid| solid + 1),
            Self::File | Self::Line => 0,
        }
    }
}

/// What follows a newline: blanks, perhaps with more newlines among them.
struct Run {
    /// Behind the last of these newlines.
    next: Option<usize>,
    /// There is nothing else up to the end of the text.
    at_end: bool,
}

impl Run {
    fn at(text: &[u8], newline: usize) -> Self {
        let mut next = None;
        for (place, &byte) in text.iter().enumerate().skip(newline + 1) {
            match byte {
                b'\n' => next = Some(place + 1),
                _ if blank(byte) => {}
                _ => return Self { next, at_end: false },
            }
        }
        Self { next, at_end: true }
    }
}

fn blank(byte: u8) -> bool {
    matches!(byte, b'\n' | b' ' | b'\t' | b'\r')
}

/// The length of `text` without the blanks at its end.
fn solid(text: &[u8]) -> usize {
    text.iter().rposition(|&byte| !blank(byte)).map_or(0, |last| last + 1)
}

/// Without the carriage return of a line that began at or after `from` and ends at the newline `text[at]`.
fn line_end(text: &[u8], from: usize, at: usize) -> usize {
    if at > from && text[at - 1] == b'\r' {
        at - 1
    } else {
        at
    }
}

//! Where one document of a plain text ends and the next begins.

use std::sync::Arc;

use memchr::memmem::{Finder, FinderRev};

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
    /// Lines: how a jsonl file is cut into pieces.
    Line,
}

pub struct Literal {
    text: Vec<u8>,
    forward: Finder<'static>,
    backward: FinderRev<'static>,
}

impl Separator {
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
    /// grow at its end is not reported.
    pub fn first(&self, text: &[u8], from: usize, complete: bool) -> Option<Break> {
        match self {
            Self::Literal(literal) => {
                let end = from + literal.forward.find(&text[from..])?;
                Some(Break { end, next: end + literal.text.len() })
            }
            Self::Line => {
                let end = from + memchr::memchr(b'\n', &text[from..])?;
                Some(Break { end, next: end + 1 })
            }
            Self::File => None,
            Self::Blank => {
                memchr::memchr_iter(b'\n', &text[from..]).find_map(|at| blank_run(text, from + at, complete))
            }
        }
    }

    /// The last break that lies wholly in `text[from..]`.
    pub fn last(&self, text: &[u8], from: usize, complete: bool) -> Option<Break> {
        match self {
            Self::Literal(literal) => {
                let end = from + literal.backward.rfind(&text[from..])?;
                Some(Break { end, next: end + literal.text.len() })
            }
            Self::Line => {
                let end = from + memchr::memrchr(b'\n', &text[from..])?;
                Some(Break { end, next: end + 1 })
            }
            Self::File => None,
            Self::Blank => memchr::memrchr_iter(b'\n', &text[from..]).find_map(|at| {
                let found = blank_run(text, from + at, complete)?;
                // back to the first newline of the run, so that the document before it ends in text
                let mut end = found.end;
                while end > from && text[end - 1].is_ascii_whitespace() {
                    end -= 1;
                }
                let line = end + memchr::memchr(b'\n', &text[end..]).unwrap_or(0);
                Some(Break { end: line_end(text, line), next: found.next })
            }),
        }
    }

    /// How far behind a nominal place a search must begin to see a separator that straddles it.
    pub fn reach(&self) -> usize {
        match self {
            Self::Literal(literal) => literal.text.len() - 1,
            // blank lines are rarely longer
            Self::Blank => 4096,
            Self::File | Self::Line => 0,
        }
    }
}

/// The break that begins at the newline `text[at]`: at least one more newline with only blanks between.
fn blank_run(text: &[u8], at: usize, complete: bool) -> Option<Break> {
    let mut next = None;
    let mut place = at + 1;
    while place < text.len() {
        match text[place] {
            b'\n' => next = Some(place + 1),
            b' ' | b'\t' | b'\r' => {}
            _ => return next.map(|next| Break { end: line_end(text, at), next }),
        }
        place += 1;
    }
    // the run reaches the end of what is there: it may go on
    if complete {
        next.map(|next| Break { end: line_end(text, at), next })
    } else {
        None
    }
}

/// Without the carriage return of a line that ends at the newline `text[at]`.
fn line_end(text: &[u8], at: usize) -> usize {
    if at > 0 && text[at - 1] == b'\r' {
        at - 1
    } else {
        at
    }
}

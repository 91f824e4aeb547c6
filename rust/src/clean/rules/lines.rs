//! Lines as Python cuts them, and what comes twice among them.

use memchr::memmem;
use xxhash_rust::xxh3::xxh3_64;

use super::table::Table;

/// The lines of `str.splitlines`.
pub struct PythonLines<'a> {
    text: &'a str,
    at: usize,
    /// Only `\n` ends a line in this text.
    plain: bool,
}

pub fn python_lines(text: &str) -> PythonLines<'_> {
    PythonLines { text, at: 0, plain: is_plain(text.as_bytes()) }
}

fn is_plain(bytes: &[u8]) -> bool {
    let found = bytes
        .chunks(4096)
        .any(|part| part.iter().fold(false, |found, byte| found | matches!(byte, 0x0b..=0x0d | 0x1c..=0x1e | 0x85)));
    !found && memmem::find(bytes, b"\xe2\x80\xa8").is_none() && memmem::find(bytes, b"\xe2\x80\xa9").is_none()
}

impl<'a> Iterator for PythonLines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let bytes = self.text.as_bytes();
        if self.at >= bytes.len() {
            return None;
        }
        let start = self.at;
        let (end, next) = if self.plain { newline(bytes, start) } else { line_end(bytes, start) };
        self.at = next;
        Some(&self.text[start..end])
    }
}

fn newline(bytes: &[u8], from: usize) -> (usize, usize) {
    memchr::memchr(b'\n', &bytes[from..]).map_or((bytes.len(), bytes.len()), |at| (from + at, from + at + 1))
}

fn line_end(bytes: &[u8], from: usize) -> (usize, usize) {
    let end_length = |at: usize| match bytes[at] {
        b'\r' if bytes.get(at + 1) == Some(&b'\n') => 2,
        0x0a..=0x0d | 0x1c..=0x1e => 1,
        0xc2 if bytes[at + 1] == 0x85 => 2,
        0xe2 if bytes[at + 1] == 0x80 && matches!(bytes[at + 2], 0xa8 | 0xa9) => 3,
        _ => 0,
    };
    let found = (from..bytes.len()).map(|at| (at, end_length(at))).find(|(_, length)| *length > 0);
    found.map_or((bytes.len(), bytes.len()), |(at, length)| (at, at + length))
}

/// What lies between runs of at least `least` newlines: `re.split(r"\n{least,}")`.
pub fn split_at_newlines(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = Some(0);
    std::iter::from_fn(move || {
        let start = at?;
        let mut from = start;
        while let Some(found) = memchr::memchr(b'\n', &bytes[from..]) {
            let end = from + found;
            let run = bytes[end..].iter().take_while(|byte| **byte == b'\n').count();
            if run >= least {
                at = Some(end + run);
                return Some(&text[start..end]);
            }
            from = end + run;
        }
        at = None;
        Some(&text[start..])
    })
}

/// How many code points.
#[inline]
pub fn characters(text: &str) -> usize {
    // Short ones: a count by hand beats the library's way in and out of vectors.
    if text.len() > 64 {
        return text.chars().count();
    }
    text.bytes().map(|byte| usize::from(byte as i8 >= -0x40)).sum()
}

/// How many there were, and of those that came before how many and of how many characters.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Repeated {
    pub all: usize,
    pub elements: usize,
    pub characters: usize,
}

/// Finds repeated lines; keeps its table between texts.
#[derive(Default)]
pub struct Repeats {
    table: Table,
    spans: Vec<(u32, u32)>,
}

impl Repeats {
    /// Of `parts`, each a slice of `text`.
    pub fn count<'a>(&mut self, text: &'a str, parts: impl Iterator<Item = &'a str>) -> Repeated {
        let base = text.as_ptr() as usize;
        self.spans.clear();
        self.spans.extend(parts.map(|part| {
            let start = part.as_ptr() as usize - base;
            (start as u32, (start + part.len()) as u32)
        }));
        self.table.reset(self.spans.len(), self.spans.len());
        let mut found = Repeated { all: self.spans.len(), ..Repeated::default() };
        let part = |number: usize| &text[self.spans[number].0 as usize..self.spans[number].1 as usize];
        for number in 0..self.spans.len() {
            let this = part(number);
            let equal = |other: u32| part(other as usize) == this;
            if self.table.first(xxh3_64(this.as_bytes()), number as u32, equal).is_some() {
                found.elements += 1;
                found.characters += characters(this);
            }
        }
        found
    }
}

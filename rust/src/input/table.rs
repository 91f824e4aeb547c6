//! Tables of text, comma or tab separated, as Python's `csv` reads them.

use memchr::{memchr, memchr3};
use serde_json::{Map, Value};

use super::magic::BYTE_ORDER_MARK;
use super::texts::Documents;
use super::{Note, Options, SourceFile};
use crate::error::{Error, Result};

/// What stands between fields, and which of them holds the text.
#[derive(Debug)]
pub(super) struct Header {
    pub delimiter: u8,
    names: Vec<String>,
    text: usize,
}

/// One field: where its bytes lie, and whether they are quoted.
struct Fields<'a> {
    text: &'a [u8],
    at: usize,
    delimiter: u8,
    /// The record goes on.
    more: bool,
}

impl Fields<'_> {
    /// Appends the next field of the record; false where there is none. An error where a quote is not closed.
    fn next(&mut self, mut out: Option<&mut Vec<u8>>) -> Result<bool, Unclosed> {
        if !self.more {
            return Ok(false);
        }
        let mut add = |bytes: &[u8]| {
            if let Some(out) = &mut out {
                out.extend_from_slice(bytes);
            }
        };
        if self.text.get(self.at) == Some(&b'"') {
            self.at += 1;
            loop {
                let quote = self.at + memchr(b'"', &self.text[self.at..]).ok_or(Unclosed)?;
                add(&self.text[self.at..quote]);
                self.at = quote + 1;
                if self.text.get(self.at) != Some(&b'"') {
                    break;
                }
                add(b"\"");
                self.at += 1;
            }
        }
        // what follows a closing quote is text, as of a field without one
        let rest = &self.text[self.at..];
        let length = memchr3(self.delimiter, b'\n', b'\r', rest).unwrap_or(rest.len());
        add(&rest[..length]);
        self.at += length;
        self.more = self.text.get(self.at) == Some(&self.delimiter);
        self.at += match self.text[self.at..] {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        Ok(true)
    }
}

struct Unclosed;

/// Where the last whole record of `text` ends within its first `most` bytes, or the first one; None where more is
/// needed.
pub(super) fn cut(text: &[u8], delimiter: u8, most: usize) -> Option<usize> {
    let mut end = 0;
    while end < text.len() && (end < most || end == 0) {
        let mut fields = Fields { text, at: end, delimiter, more: true };
        let whole = loop {
            match fields.next(None) {
                Ok(true) => {}
                Ok(false) => break true,
                Err(Unclosed) => break false,
            }
        };
        // a record that reaches the end may go on, and a newline may follow its carriage return
        if !whole || (fields.at == text.len() && text.last() != Some(&b'\n')) {
            break;
        }
        if fields.at > most && end > 0 {
            break;
        }
        end = fields.at;
    }
    (end > 0).then_some(end)
}

pub(super) fn delimiter(name: &str) -> u8 {
    let name = name.to_ascii_lowercase();
    if name.split('.').any(|part| part == "tsv") {
        b'\t'
    } else {
        b','
    }
}

impl Header {
    /// Of the first record.
    pub fn read(record: &[u8], file: &SourceFile, options: &Options) -> Result<Self> {
        let delimiter = delimiter(&file.name);
        let record = record.strip_prefix(BYTE_ORDER_MARK).unwrap_or(record);
        let mut fields = Fields { text: record, at: 0, delimiter, more: true };
        let mut names = Vec::new();
        loop {
            let mut name = Vec::new();
            match fields.next(Some(&mut name)) {
                Ok(true) => names.push(String::from_utf8_lossy(&name).into_owned()),
                Ok(false) => break,
                Err(Unclosed) => return Err(unclosed(file, 1, 0)),
            }
        }
        let find = |wanted: &str| {
            // the last of two equal names counts, as in a dictionary
            names.iter().rposition(|name| name == wanted).ok_or_else(|| {
                Error::usage(format!("{} has no column {wanted:?}", file.name))
                    .hint(format!("name one with --column; it has: {}", names.join(", ")))
            })
        };
        let text = find(&options.column)?;
        options.extra.as_deref().map(find).transpose()?;
        Ok(Self { delimiter, names, text })
    }

    /// The documents of whole records.
    pub fn documents(
        &self,
        text: &[u8],
        origin: (u64, u64),
        file: &SourceFile,
        options: &Options,
    ) -> Result<Documents> {
        let mut found = Documents::default();
        found.text.reserve(text.len());
        let mut at = 0;
        while at < text.len() {
            let begin = at;
            let mut fields = Fields { text, at, delimiter: self.delimiter, more: true };
            let from = found.text.len();
            let (mut number, mut there, mut others) = (0, false, Map::new());
            loop {
                let name = self.names.get(number);
                let is_text = number == self.text;
                let noted = !is_text && name.is_some() && (options.meta || options.extra.as_ref() == name);
                let mut field = Vec::new();
                let out = if is_text { Some(&mut found.text) } else { noted.then_some(&mut field) };
                match fields.next(out) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(Unclosed) => {
                        let lines = memchr::memchr_iter(b'\n', &text[..begin]).count() as u64;
                        return Err(unclosed(file, origin.1 + lines + 1, origin.0 + begin as u64));
                    }
                }
                there |= is_text;
                if let (true, Some(name)) = (noted, name) {
                    others.insert(name.clone(), Value::String(String::from_utf8_lossy(&field).into_owned()));
                }
                number += 1;
            }
            at = fields.at;
            if number == 1 && text[begin..at].iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
                continue;
            }
            if !there {
                found.nulls += 1;
                continue;
            }
            debug_assert!(found.text.len() >= from);
            found.ends.push(found.text.len());
            if options.meta || options.extra.is_some() {
                found.notes.push(Note::with_extra(others, options));
            }
        }
        Ok(found)
    }
}

fn unclosed(file: &SourceFile, line: u64, byte: u64) -> Error {
    Error::data(format!("{}: line {line}, byte {byte}: a quoted field of this record is not closed", file.name))
        .hint("close it with a quote; a quote within a quoted field is written twice")
}

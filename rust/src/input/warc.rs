//! The texts of web archives: records of the type `conversion`, as WET files hold them.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::{Map, Value};

use super::compressed::{unreadable, Stream};
use super::texts::Documents;
use super::{Mark, Note, Options, SourceFile};
use crate::error::{Error, Result};

/// Reads the documents of records one after another.
pub(super) struct Records {
    stream: BufReader<Stream>,
    /// Bytes of the unpacked file that were read.
    at: u64,
    /// Records of other types, and whether any was a text.
    others: u64,
    texts: bool,
}

/// Bytes that a line of a header may have, and lines that it may have.
const LINE: u64 = 64 << 10;
const LINES: usize = 1000;

/// What a header says.
#[derive(Default)]
struct Header {
    kind: String,
    length: Option<u64>,
    id: Option<String>,
    url: Option<String>,
    date: Option<String>,
}

impl Records {
    pub fn new(stream: Stream, mark: Mark) -> Self {
        // what lies before a mark is not judged
        Self { stream: BufReader::with_capacity(256 << 10, stream), at: mark.at, others: 0, texts: mark.at > 0 }
    }

    pub fn mark(&self) -> Mark {
        Mark { at: self.at, ..Mark::default() }
    }

    /// About `size` bytes of text; None after the last record.
    pub fn next(&mut self, size: usize, file: &SourceFile, options: &Options) -> Result<Option<Documents>> {
        let mut found = Documents::default();
        while found.text.len() < size {
            let Some(header) = self.header(file)? else { break };
            let Some(length) = header.length else {
                return Err(self.damaged(file, "a record does not say how long it is"));
            };
            if header.kind == "conversion" {
                let before = found.text.len();
                let read = self.stream.by_ref().take(length).read_to_end(&mut found.text);
                read.map_err(|error| unreadable(file, self.at, error))?;
                self.pass((found.text.len() - before) as u64, length, file)?;
                found.ends.push(found.text.len());
                found.notes.extend((options.meta || options.extra.is_some()).then(|| header.note()));
                self.texts = true;
            } else {
                let read = io::copy(&mut self.stream.by_ref().take(length), &mut io::sink());
                let read = read.map_err(|error| unreadable(file, self.at, error))?;
                self.pass(read, length, file)?;
                self.others += 1;
            }
        }
        if found.ends.is_empty() {
            if !self.texts && self.others > 0 {
                let (name, others) = (&file.name, self.others);
                return Err(Error::data(format!("none of the {others} records of {name} is of the type conversion"))
                    .hint("name a WET file, which holds the text of pages, not the WARC file that it was made of"));
            }
            return Ok(None);
        }
        Ok(Some(found))
    }

    fn pass(&mut self, read: u64, length: u64, file: &SourceFile) -> Result<()> {
        self.at += read;
        if read < length {
            return Err(self.damaged(file, "it is cut off within a record"));
        }
        Ok(())
    }

    fn damaged(&self, file: &SourceFile, what: &str) -> Error {
        Error::data(format!("{} is no sound web archive: {what}, before byte {} of it unpacked", file.name, self.at))
            .hint("fetch the file again")
    }

    /// A line without its end; None at the end of the file.
    fn line(&mut self, file: &SourceFile) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LINE).read_until(b'\n', &mut line);
        self.at += read.map_err(|error| unreadable(file, self.at, error))? as u64;
        if line.is_empty() {
            return Ok(None);
        }
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            return Err(self.damaged(file, "a line of a header does not end"));
        }
        line.pop_if(|byte| *byte == b'\r');
        Ok(Some(line))
    }

    /// The header of the next record; None at the end of the file.
    fn header(&mut self, file: &SourceFile) -> Result<Option<Header>> {
        let first = loop {
            match self.line(file)? {
                None => return Ok(None),
                Some(line) if line.is_empty() => {}
                Some(line) => break line,
            }
        };
        if !first.starts_with(b"WARC/") {
            return Err(self.damaged(file, "no record begins where one should"));
        }
        let mut header = Header::default();
        for _ in 0..LINES {
            match self.line(file)? {
                None => return Err(self.damaged(file, "it is cut off within a header")),
                Some(line) if line.is_empty() => return Ok(Some(header)),
                Some(line) => header.add(&String::from_utf8_lossy(&line)),
            }
        }
        Err(self.damaged(file, "a header does not end"))
    }
}

impl Header {
    fn add(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(':') else { return };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "warc-type" => self.kind = value.to_ascii_lowercase(),
            "content-length" => self.length = value.parse().ok(),
            "warc-record-id" => self.id = Some(value.trim_matches(['<', '>']).into()),
            "warc-target-uri" => self.url = Some(value.trim_matches(['<', '>']).into()),
            "warc-date" => self.date = Some(value.into()),
            _ => {}
        }
    }

    fn note(self) -> Note {
        let facts = [("id", self.id), ("url", self.url), ("date", self.date)];
        let facts = facts.into_iter().filter_map(|(name, fact)| Some((name.to_string(), Value::String(fact?))));
        Note::of(facts.collect::<Map<_, _>>())
    }
}

//! An archive's files as if they lay in a folder.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::compressed::{self, open_archive, unpacked_within_reason};
use super::expand::{classify, listed};
use super::tar::{is_shown, lock, Entry, Part, Shared, Tape};
use super::{Format, Input, Mark, Options, RawBlock, SourceFile, Validation};
use crate::error::{quoted, Error, Result};

/// What reads one file of an archive.
pub(super) trait Texts: Sized {
    /// `number` is the archive's, `offset` where the file begins in all of the text.
    fn entry(
        input: &Input,
        number: u32,
        file: Arc<SourceFile>,
        stream: compressed::Stream,
        mark: Mark,
        offset: u64,
    ) -> Result<Self>;

    fn next(&mut self, input: &Input, validation: Validation) -> Result<Option<RawBlock>>;
}

/// Reads the texts of an archive one after another.
pub(super) struct Archive<R> {
    number: u32,
    tape: Shared,
    current: Option<(Entry, R)>,
    /// Where the first entry begins, of one that was read in part.
    first: Mark,
    /// Whether any entry was a text, and how many were not, by suffix.
    texts: bool,
    others: BTreeMap<String, u64>,
}

impl<R: Texts> Archive<R> {
    pub fn open(file: &SourceFile, number: u32, mark: Mark, options: &Options) -> Result<Self> {
        let tape = Tape::new(file.clone(), open_archive(file, mark.at, options)?, mark.at);
        let (first, texts) = (Mark { at: mark.row, row: 0, line: mark.line }, mark.at > 0);
        let tape = Arc::new(Mutex::new(tape));
        Ok(Self { number, tape, current: None, first, texts, others: BTreeMap::new() })
    }

    /// `offset` is where the block begins in all of the text.
    pub fn next(&mut self, input: &Input, validation: Validation, offset: u64) -> Result<Option<RawBlock>> {
        loop {
            if let Some((entry, reader)) = &mut self.current {
                if let Some(block) = reader.next(input, validation)? {
                    let after = Mark { at: entry.header, row: block.after.at, line: block.after.line };
                    return Ok(Some(RawBlock { offset, after, ..block }));
                }
                lock(&self.tape).leave(entry)?;
                self.current = None;
            }
            input.options.check()?;
            let Some(entry) = lock(&self.tape).next()? else {
                return if self.texts { Ok(None) } else { Err(self.empty(&input.files[self.number as usize])) };
            };
            let first = std::mem::take(&mut self.first);
            match self.file(&entry, input) {
                Some(file) => {
                    self.texts = true;
                    let part = Part { tape: self.tape.clone(), left: entry.size };
                    let bytes = Box::new(BufReader::with_capacity(entry.size.clamp(1, 64 << 10) as usize, part));
                    let stream: compressed::Stream = unpacked_within_reason(bytes, &file)?;
                    let reader = R::entry(input, self.number, Arc::new(file), stream, first, offset)?;
                    self.current = Some((entry, reader));
                }
                None => lock(&self.tape).leave(&entry)?,
            }
        }
    }

    /// An entry as a file, where it is one that a walked folder would offer and that can be read from front to back.
    fn file(&mut self, entry: &Entry, input: &Input) -> Option<SourceFile> {
        let path = Path::new(&entry.name);
        let kind = classify(path).filter(|(format, _)| !matches!(format, Format::Parquet | Format::Tar | Format::Warc));
        let Some((format, compression)) = kind.filter(|_| is_shown(&entry.name)) else {
            let suffix = path.extension().map(|suffix| suffix.to_string_lossy().to_ascii_lowercase());
            *self.others.entry(suffix.unwrap_or_default()).or_default() += 1;
            return None;
        };
        let archive = &input.files[self.number as usize];
        let name = format!("{}/{}", archive.name, entry.name);
        // of no place that could be opened
        Some(SourceFile { name, size: entry.size, format, compression, ..archive.clone() })
    }

    fn empty(&self, file: &SourceFile) -> Error {
        let there = if self.others.is_empty() { String::new() } else { format!(": {}", listed(&self.others)) };
        Error::data(format!("{} holds no text{there}", file.name))
            .hint(format!("unpack it with tar -xf {}, and name what is to be read", quoted(&file.name)))
    }
}

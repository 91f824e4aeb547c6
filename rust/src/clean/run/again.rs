//! The texts of a folder that is finished, as its lines hold them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::decide::Decided;
use super::judge::STAYS;
use super::line::{read_kept, read_removed};
use super::output::Kind;
use super::request::Request;
use super::walk::Walk;
use super::write::{copies, more};
use crate::error::{Error, Result};

/// Walks through what was kept and what was removed side by side, as the decisions of then divided it.
pub(super) struct FolderWalk<'a> {
    folder: &'a Path,
    request: &'a Request,
    then: &'a Decided,
    kept: Reader,
    removed: Reader,
    /// The document whose line is next.
    next: u32,
    fields: String,
    text: Option<String>,
}

impl<'a> FolderWalk<'a> {
    pub fn new(folder: &'a Path, request: &'a Request, then: &'a Decided) -> Self {
        let reader = |kind| Reader::new(folder, kind, request.compress);
        let (kept, removed) = (reader(Kind::Text), reader(Kind::Removed));
        Self { folder, request, then, kept, removed, next: 0, fields: String::new(), text: None }
    }

    fn take(&mut self, document: u32) -> Result<()> {
        if self.then.verdicts[document as usize] != STAYS {
            let line = self.removed.line()?;
            let (fields, text) = read_removed(line)?;
            (self.fields, self.text) = (fields, text);
            return Ok(());
        }
        let (text, fields) = read_kept(self.kept.line()?, &more(self.then, document))?;
        (self.fields, self.text) = (fields.into_owned(), Some(text));
        self.kept.skip(copies(self.request, self.then, document) - 1)
    }
}

impl Walk for FolderWalk<'_> {
    fn document(&mut self, number: u32) -> Result<(&str, Option<&str>)> {
        if self.request.tags_only {
            return Ok(("", None));
        }
        if number < self.next {
            *self = Self::new(self.folder, self.request, self.then);
        }
        for before in self.next..number {
            if self.then.verdicts[before as usize] == STAYS {
                self.kept.skip(copies(self.request, self.then, before))?;
            } else {
                self.removed.skip(1)?;
            }
        }
        self.take(number)?;
        self.next = number + 1;
        Ok((&self.fields, self.text.as_deref()))
    }
}

/// The lines of the files of one kind.
struct Reader {
    folder: PathBuf,
    kind: Kind,
    compressed: bool,
    number: usize,
    from: Option<Box<dyn BufRead>>,
    line: Vec<u8>,
}

impl Reader {
    fn new(folder: &Path, kind: Kind, compressed: bool) -> Self {
        Self { folder: folder.into(), kind, compressed, number: 0, from: None, line: Vec::new() }
    }

    fn line(&mut self) -> Result<&str> {
        self.read()?;
        simdutf8::basic::from_utf8(&self.line).map_err(|_| self.damaged())
    }

    fn skip(&mut self, lines: u32) -> Result<()> {
        (0..lines).try_for_each(|_| self.read())
    }

    fn read(&mut self) -> Result<()> {
        loop {
            let path = self.folder.join(self.kind.file(self.number, self.compressed));
            let failed = |error| Error::io("read", &path, &error);
            if self.from.is_none() && !path.exists() {
                return Err(self.damaged());
            }
            let from = match self.from.take() {
                Some(from) => from,
                None => opened(&path, self.compressed).map_err(failed)?,
            };
            self.line.clear();
            if self.from.insert(from).read_until(b'\n', &mut self.line).map_err(failed)? > 0 {
                return Ok(());
            }
            (self.from, self.number) = (None, self.number + 1);
        }
    }

    fn damaged(&self) -> Error {
        let name = self.kind.file(self.number.saturating_sub(1), self.compressed);
        Error::data(format!("{} is not as it was written", self.folder.join(name).display()))
            .hint("copy the folder again, or clean again with --force")
    }
}

fn opened(path: &Path, compressed: bool) -> std::io::Result<Box<dyn BufRead>> {
    let file = File::open(path)?;
    let bytes: Box<dyn Read> = if compressed { Box::new(zstd::Decoder::new(file)?) } else { Box::new(file) };
    Ok(Box::new(BufReader::with_capacity(1 << 20, bytes)))
}

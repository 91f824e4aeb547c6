//! The texts of documents again: of the parts, in order or by number.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::drops::Drops;
use super::line::tag_again;
use super::part::{self, Record};
use super::request::Private;
use super::walk::Walk;
use crate::clean::duplicates::Texts;
use crate::clean::record::Reader;
use crate::error::{Error, Result};

/// The texts of all parts.
pub(super) struct Parts {
    folder: PathBuf,
    /// The number of each part's first document, and of the one after the last.
    firsts: Vec<u32>,
    /// Where each document begins in its part: its fields, its text and its end.
    places: Vec<(u64, u32)>,
    /// What is dropped of them as they are walked through.
    pub drops: Drops,
    /// The fields say where addresses stand.
    tagged: bool,
}

impl Parts {
    pub fn open(folder: &Path, measures: usize, records: &[Record], private: Private) -> Result<Self> {
        let (mut firsts, mut places) = (vec![0], Vec::new());
        for (unit, record) in records.iter().enumerate() {
            let mut tags = Reader::open(part::file(folder, unit, part::TAGS), measures)?;
            let mut at = 0;
            for _ in 0..record.documents {
                let tag = tags.take()?;
                places.push((at, tag.fields));
                at += u64::from(tag.fields) + tag.bytes;
            }
            // the end of the last one, found as the beginning of a next one is
            places.push((at, 0));
            firsts.push(firsts[unit] + record.documents);
        }
        let tagged = private == Private::Tag;
        Ok(Self { folder: folder.into(), firsts, places, drops: Drops::default(), tagged })
    }

    pub fn walk(&self) -> PartsWalk<'_> {
        let (fields, left) = (String::new(), String::new());
        PartsWalk { parts: self, unit: usize::MAX, from: None, at: 0, bytes: Vec::new(), fields, left }
    }

    /// Its part, where it begins there, bytes of its fields and of both.
    fn place(&self, document: u32) -> (usize, u64, usize, usize) {
        let unit = self.firsts.partition_point(|first| *first <= document) - 1;
        let index = document as usize + unit;
        let ((start, fields), end) = (self.places[index], self.places[index + 1].0);
        (unit, start, fields as usize, (end - start) as usize)
    }
}

impl Texts for Parts {
    fn read(&self, document: u32, visit: &mut dyn FnMut(&str)) -> Result<()> {
        let (unit, start, fields, length) = self.place(document);
        let path = part::file(&self.folder, unit, part::TEXT);
        let mut bytes = vec![0; length - fields];
        let read = File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, start + fields as u64));
        read.map_err(|error| Error::io("read", &path, &error))?;
        visit(text_of(&bytes)?);
        Ok(())
    }
}

pub(super) struct PartsWalk<'a> {
    parts: &'a Parts,
    unit: usize,
    from: Option<BufReader<File>>,
    /// Where in the part.
    at: u64,
    bytes: Vec<u8>,
    fields: String,
    left: String,
}

impl Walk for PartsWalk<'_> {
    fn document(&mut self, number: u32) -> Result<(&str, Option<&str>)> {
        let (unit, start, fields, length) = self.parts.place(number);
        let path = part::file(&self.parts.folder, unit, part::TEXT);
        if unit != self.unit {
            let file = File::open(&path).map_err(|error| Error::io("read", &path, &error))?;
            (self.unit, self.at, self.from) = (unit, 0, Some(BufReader::with_capacity(1 << 18, file)));
        }
        let Some(from) = &mut self.from else { return Ok(("", None)) };
        self.bytes.resize(length, 0);
        let read = match start as i64 - self.at as i64 {
            0 => Ok(()),
            away if away.unsigned_abs() < 1 << 18 => from.seek_relative(away),
            _ => from.seek(SeekFrom::Start(start)).map(drop),
        };
        read.and_then(|()| from.read_exact(&mut self.bytes)).map_err(|error| Error::io("read", &path, &error))?;
        self.at = start + length as u64;
        let (fields, text) = self.bytes.split_at(fields);
        let (fields, text) = (text_of(fields)?, text_of(text)?);
        match self.parts.drops.apply(number, text) {
            None => Ok((fields, Some(text))),
            Some(left) => {
                self.left = left;
                if !self.parts.tagged {
                    return Ok((fields, Some(&self.left)));
                }
                // addresses stand elsewhere now, and some have gone
                self.fields = fields.into();
                tag_again(&mut self.fields, text, &self.left);
                Ok((&self.fields, Some(&self.left)))
            }
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| {
        Error::data("a part of the text is not as it was written").hint("remove the output folder and clean again")
    })
}

//! What was made of one unit: its records, sketches and texts, whole or not there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::chain::{Made, Tally};
use super::plan::AGAIN;
use crate::error::{write_error, Result};
use crate::files::{read_json, to_json, write_atomically, PARTS};

/// The suffixes of a part's files.
pub(super) const TAGS: &str = "tags";
pub(super) const SKETCH: &str = "sketch";
pub(super) const TEXT: &str = "text";
const KINDS: [&str; 3] = [TAGS, SKETCH, TEXT];

/// What is known of a part that is whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub documents: u32,
    /// Bytes of its files.
    pub sizes: [u64; 3],
    pub tally: Tally,
}

/// A file of a part.
pub(super) fn file(folder: &Path, unit: usize, kind: &str) -> PathBuf {
    folder.join(PARTS).join(format!("{unit:05}.{kind}"))
}

/// The record of a part that is whole and has its files.
pub(super) fn standing(folder: &Path, unit: usize) -> Option<Record> {
    let record = read_json::<Record>(&file(folder, unit, "json"), AGAIN).ok().flatten()?;
    let size = |kind: &str| fs::metadata(file(folder, unit, kind)).map_or(u64::MAX, |metadata| metadata.len());
    (KINDS.map(size) == record.sizes).then_some(record)
}

/// Takes what threads make of the blocks of a unit, in any order, and writes it in theirs.
pub(super) struct PartWriter {
    folder: PathBuf,
    unit: usize,
    state: Mutex<State>,
}

struct State {
    next: u64,
    pending: BTreeMap<u64, Option<Made>>,
    files: [(PathBuf, File); 3],
    record: Record,
}

impl PartWriter {
    pub fn open(folder: &Path, unit: usize) -> Result<Self> {
        let suffix = crate::unique::suffix();
        let open = |kind: &str| {
            let path = file(folder, unit, kind).with_extension(format!("tmp{suffix}{}", kind_digit(kind)));
            let file = OpenOptions::new().write(true).create_new(true).open(&path);
            file.map(|file| (path.clone(), file)).map_err(|error| write_error("write", &path, &error))
        };
        let files = [open(TAGS)?, open(SKETCH)?, open(TEXT)?];
        let state = State { next: 0, pending: BTreeMap::new(), files, record: Record::default() };
        Ok(Self { folder: folder.into(), unit, state: Mutex::new(state) })
    }

    /// Takes what was made of a block, or None at the unit's end. Gives back what can be used again, and whether the
    /// part is whole now.
    pub fn commit(&self, sequence: u64, item: Option<Made>) -> Result<(Vec<Made>, bool)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.insert(sequence, item);
        let mut free = Vec::new();
        loop {
            let turn = state.next;
            match state.pending.remove(&turn) {
                None => return Ok((free, false)),
                Some(None) => {
                    self.finish(&mut state)?;
                    return Ok((free, true));
                }
                Some(Some(mut made)) => {
                    state.append(&mut made)?;
                    free.push(made);
                }
            }
            state.next += 1;
        }
    }

    fn finish(&self, state: &mut State) -> Result<()> {
        for ((temporary, written), kind) in state.files.iter().zip(KINDS) {
            let path = file(&self.folder, self.unit, kind);
            let done = written.sync_all().and_then(|()| fs::rename(temporary, &path));
            done.map_err(|error| write_error("write", &path, &error))?;
        }
        write_atomically(&file(&self.folder, self.unit, "json"), &to_json(&state.record))
    }
}

/// Tells the three temporary names of a unit apart.
fn kind_digit(kind: &str) -> usize {
    KINDS.iter().position(|each| *each == kind).unwrap_or(KINDS.len())
}

impl State {
    fn append(&mut self, made: &mut Made) -> Result<()> {
        let parts = [&made.tags, &made.sketches, &made.texts];
        for (((path, file), bytes), size) in self.files.iter_mut().zip(parts).zip(&mut self.record.sizes) {
            file.write_all(bytes).map_err(|error| write_error("write", path, &error))?;
            *size += bytes.len() as u64;
        }
        self.record.documents += made.documents;
        self.record.tally.add(&made.tally);
        Ok(())
    }
}

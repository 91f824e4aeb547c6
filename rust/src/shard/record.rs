//! How far a shard's files are good: written after each unit, read by the run that goes on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::plan::{Job, AGAIN};
use crate::files::{read_json, PARTS};
use crate::input::{Side, Skipped};

/// Bytes of an entry of the log, one for each document and each part of one: text << 2 | part << 1 | side, and tokens.
pub(super) const LOG_ENTRY: u64 = 16;
/// Broken lines that are listed; the others are counted.
const LISTED: usize = 20;

/// What one split of a shard holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Half {
    pub tokens: u64,
    /// Entries of the index after the first.
    pub entries: u64,
    /// Documents that end here.
    pub documents: u64,
    pub text_bytes: u64,
    /// XXH3-128 of the ids and of the index.
    pub hash: String,
    pub index_hash: String,
    /// The last document goes on in another shard; None where no document has begun or ended here.
    pub open: Option<bool>,
    /// Text and tokens of the document that is not at its end.
    pub open_bytes: u64,
    pub open_start: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Units whose ids are all there.
    pub units: usize,
    /// The shard is finished and in its place.
    pub complete: bool,
    /// By [`Side`].
    pub halves: [Half; 2],
    /// Entries of the log of documents, where a limit needs one, and the hash of them.
    pub log_entries: u64,
    #[serde(default)]
    pub log_hash: String,
    pub skipped: u64,
    pub first_skipped: Vec<Skipped>,
    pub replaced: u64,
}

impl Record {
    /// Whether this may be what a writer wrote of a shard of so many units: its numbers are reckoned with unchecked.
    pub fn is_sound(&self, units: usize) -> bool {
        const MOST: u64 = 1 << 56;
        let half = |half: &Half| {
            let counts = [half.tokens, half.entries, half.documents, half.text_bytes, half.open_bytes, half.open_start];
            counts.into_iter().all(|count| count < MOST) && half.open_start <= half.tokens
        };
        self.units <= units
            && self.halves.iter().all(half)
            && self.log_entries < MOST
            && self.replaced < MOST
            && self.skipped < MOST
            && self.first_skipped.len() as u64 <= self.skipped
    }

    pub fn totals(&self) -> (u64, u64, u64) {
        let [train, val] = &self.halves;
        // a part of a document counts as text and tokens, not yet as a document
        let bytes = |half: &Half| half.text_bytes + half.open_bytes;
        (train.documents + val.documents, bytes(train) + bytes(val), train.tokens + val.tokens)
    }

    pub fn skip(&mut self, skipped: Vec<Skipped>) {
        self.skipped += skipped.len() as u64;
        let room = LISTED.saturating_sub(self.first_skipped.len());
        self.first_skipped.extend(skipped.into_iter().take(room));
    }
}

/// The names of a shard's files.
pub(super) struct Names<'a> {
    pub folder: &'a Path,
    pub shard: usize,
}

impl Names<'_> {
    pub fn record(&self) -> PathBuf {
        self.part(&format!("{:05}.json", self.shard))
    }

    pub fn log(&self) -> PathBuf {
        self.part(&format!("{:05}.docs", self.shard))
    }

    /// Where the ids are while they are written.
    pub fn ids(&self, side: Side) -> PathBuf {
        self.part(&file_name(side, self.shard, "bin"))
    }

    pub fn index(&self, side: Side) -> PathBuf {
        self.part(&file_name(side, self.shard, "idx"))
    }

    /// Where they are once the shard is complete. Validation is put together last, from all shards.
    pub fn final_ids(&self) -> PathBuf {
        self.folder.join(file_name(Side::Train, self.shard, "bin"))
    }

    pub fn final_index(&self) -> PathBuf {
        self.folder.join(file_name(Side::Train, self.shard, "idx"))
    }

    fn part(&self, name: &str) -> PathBuf {
        self.folder.join(PARTS).join(name)
    }
}

/// Whether a name is one that a shard or its index would have.
pub(super) fn is_shard_file(name: &str) -> bool {
    let split = name.starts_with("train_") || name.starts_with("val_");
    split && Path::new(name).extension().is_some_and(|suffix| suffix == "bin" || suffix == "idx")
}

pub(super) fn file_name(side: Side, number: usize, suffix: &str) -> String {
    let split = match side {
        Side::Train => "train",
        Side::Validation => "val",
    };
    format!("{split}_{number:05}.{suffix}")
}

/// The record of a shard, where one can be read that makes sense.
pub(super) fn record(names: &Names<'_>, job: &Job) -> Option<Record> {
    let record = read_json::<Record>(&names.record(), AGAIN).ok().flatten();
    record.filter(|record| record.is_sound(job.shards[names.shard].len()))
}

/// Whether a shard that is said to be complete still has its files.
pub(super) fn stands(names: &Names<'_>, record: &Record, job: &Job) -> bool {
    let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let [train, val] = &record.halves;
    let id = job.settings.dtype.size();
    let index = |entries: u64| 8 * (1 + entries);
    record.complete
        && (train.tokens == 0
            || (size(names.final_ids()) == job.header_bytes() + train.tokens * id
                && size(names.final_index()) == index(train.entries)))
        && size(names.ids(Side::Validation)) == val.tokens * id
        && size(names.index(Side::Validation)) == index(val.entries)
        && (job.settings.request.limit.is_none() || size(names.log()) == record.log_entries * LOG_ENTRY)
}

//! The files of one shard. Threads bring blocks in any order; places are given in the blocks' order, and every thread
//! then writes its own, so that one shard can be written by all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::block::{EncodedBlock, Part};
use super::plan::{Dtype, Header};
use super::positioned_file::{PositionedFile, Tally};
use super::record::{Names, Record, LOG_ENTRY};
use crate::error::{write_error, Error, Result};
use crate::files::{remove, sync_folder, to_json, write_atomically, write_lightly};
use crate::id::Id;
use crate::input::Side;

/// Tokens that llm.c's header can count: an int32.
pub(super) const LLMC_MOST: u64 = if cfg!(test) { 700_000 } else { i32::MAX as u64 };

/// What a thread brings.
#[expect(clippy::large_enum_variant, reason = "it moves once for a megabyte of text")]
pub(super) enum Item<T> {
    EncodedBlock(EncodedBlock<T>),
    UnitEnd,
    LaneEnd,
}

pub(super) struct ShardWriter<T> {
    folder: PathBuf,
    shard: usize,
    header: Header,
    dtype: Dtype,
    ids: [PositionedFile; 2],
    index: [PositionedFile; 2],
    log: Option<PositionedFile>,
    state: Mutex<State<T>>,
}

struct State<T> {
    next: u64,
    pending: BTreeMap<u64, Item<T>>,
    /// As far as places were given.
    record: Record,
    ids: [Tally; 2],
    index: [Tally; 2],
    log: Tally,
    /// Numbers of the blocks that are being written.
    writing: BTreeSet<u64>,
    /// Records that hold once everything before their number is written.
    checkpoints: VecDeque<(u64, Record)>,
    end: Option<u64>,
}

/// What came of bringing something.
pub(super) struct Committed<T> {
    /// Buffers to use again.
    pub free: Vec<EncodedBlock<T>>,
    pub units: u64,
    /// What the shard holds so far.
    pub totals: (u64, u64, u64),
    /// The shard is complete.
    pub record: Option<Record>,
}

impl<T: Id> ShardWriter<T> {
    /// Goes on where the record says, and starts over where the files do not bear it out.
    pub fn open(
        names: &Names<'_>,
        header: Header,
        dtype: Dtype,
        logged: bool,
        record: Option<Record>,
    ) -> Result<(Self, usize)> {
        // a shard that was moved to its place and not recorded as complete
        for (place, part) in
            [(names.final_ids(), names.ids(Side::Train)), (names.final_index(), names.index(Side::Train))]
        {
            if place.exists() && !part.exists() {
                std::fs::rename(&place, &part).map_err(|error| write_error("move", &place, &error))?;
            }
        }
        let base = if header == Header::Llmc { 1024 } else { 0 };
        let ids = [
            PositionedFile::open(names.ids(Side::Train), base)?,
            PositionedFile::open(names.ids(Side::Validation), 0)?,
        ];
        let index = [
            PositionedFile::open(names.index(Side::Train), 0)?,
            PositionedFile::open(names.index(Side::Validation), 0)?,
        ];
        let log = if logged { Some(PositionedFile::open(names.log(), 0)?) } else { None };
        let mut state = State {
            next: 0,
            pending: BTreeMap::new(),
            record: Record::default(),
            ids: [Tally::new(), Tally::new()],
            index: [Tally::new(), Tally::new()],
            log: Tally::new(),
            writing: BTreeSet::new(),
            checkpoints: VecDeque::new(),
            end: None,
        };
        if let Some(record) = record {
            let mut found = Vec::new();
            for side in [0, 1] {
                let half = &record.halves[side];
                found.push(ids[side].recall(half.tokens * dtype.size(), &half.hash)?);
                found.push(index[side].recall(8 * (1 + half.entries), &half.index_hash)?);
            }
            let entries = |log: &PositionedFile| log.recall(record.log_entries * LOG_ENTRY, &record.log_hash);
            let logged = log.as_ref().map_or(Ok(Some(Tally::new())), entries)?;
            if let ([Some(ids0), Some(index0), Some(ids1), Some(index1)], Some(log)) = (found.as_slice(), logged) {
                (state.ids, state.index) = ([ids0.clone(), ids1.clone()], [index0.clone(), index1.clone()]);
                state.log = log;
                state.record = Record { complete: false, ..record };
            }
        }
        for side in [0, 1] {
            ids[side].truncate(state.ids[side].length)?;
            if state.index[side].length == 0 {
                state.index[side].append(&0u64.to_le_bytes());
                index[side].truncate(0)?;
                index[side].write(&0u64.to_le_bytes(), 0)?;
            }
            index[side].truncate(state.index[side].length)?;
        }
        if let Some(log) = &log {
            log.truncate(state.log.length)?;
        }
        let units = state.record.units;
        let state = Mutex::new(state);
        Ok((Self { folder: names.folder.into(), shard: names.shard, header, dtype, ids, index, log, state }, units))
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a thread brings, and writes all whose places are now known.
    pub fn commit(&self, sequence: u64, item: Item<T>) -> Result<Committed<T>> {
        let mut state = self.lock();
        state.pending.insert(sequence, item);
        let mut ready = Vec::new();
        let mut units = 0;
        loop {
            let turn = state.next;
            let Some(item) = state.pending.remove(&turn) else { break };
            match item {
                Item::EncodedBlock(mut output) => {
                    self.check_header(&state.record, &output)?;
                    state.place(&mut output, self.dtype, self.log.is_some());
                    state.writing.insert(turn);
                    ready.push((turn, output));
                }
                Item::UnitEnd => {
                    units += 1;
                    state.record.units += 1;
                    let record = state.snapshot();
                    state.checkpoints.push_back((turn, record));
                }
                Item::LaneEnd => {
                    self.close_documents(&mut state)?;
                    state.end = Some(turn);
                }
            }
            state.next += 1;
        }
        let totals = state.record.totals();
        drop(state);
        let mut free = Vec::with_capacity(ready.len());
        let mut written = Vec::with_capacity(ready.len());
        for (turn, output) in ready {
            for side in [0, 1] {
                self.ids[side].write(T::bytes(&output.ids[side]), output.places[side])?;
                self.index[side].write(&output.index[side], output.places[2 + side])?;
            }
            if let Some(log) = &self.log {
                log.write(&output.log, output.places[4])?;
            }
            written.push(turn);
            free.push(output);
        }
        let record = self.settle(&written)?;
        Ok(Committed { free, units, totals, record })
    }

    /// Fails before more is written than the shard's header can say.
    fn check_header(&self, record: &Record, output: &EncodedBlock<T>) -> Result<()> {
        let too_many = |side: usize| record.halves[side].tokens + output.ids[side].len() as u64 > LLMC_MOST;
        if self.header == Header::Llmc && (too_many(0) || too_many(1)) {
            return Err(over_header(&format!("shard {} of {}", self.shard, self.folder.display())));
        }
        Ok(())
    }

    /// Notes what is written; records the units that are complete thereby, and finishes the shard after its last.
    fn settle(&self, written: &[u64]) -> Result<Option<Record>> {
        let mut state = self.lock();
        for turn in written {
            state.writing.remove(turn);
        }
        let oldest = state.writing.first().copied().unwrap_or(u64::MAX);
        let mut last = None;
        while state.checkpoints.front().is_some_and(|(turn, _)| *turn < oldest) {
            last = state.checkpoints.pop_front();
        }
        let names = Names { folder: &self.folder, shard: self.shard };
        if let Some((_, record)) = last {
            // written under the lock, so that an older one cannot replace it
            write_lightly(&names.record(), &to_json(&record))?;
        }
        if state.end.is_none() || oldest != u64::MAX {
            return Ok(None);
        }
        state.end = None;
        let mut record = state.snapshot();
        drop(state);
        self.finish(&names, &mut record)?;
        Ok(Some(record))
    }

    /// A document that goes on in the next shard ends this one's index.
    fn close_documents(&self, state: &mut State<T>) -> Result<()> {
        for side in [0, 1] {
            let half = &state.record.halves[side];
            if half.open == Some(true) && half.tokens > half.open_start {
                let entry = half.tokens.to_le_bytes();
                let at = state.index[side].append(&entry);
                self.index[side].write(&entry, at)?;
                state.record.halves[side].entries += 1;
            }
        }
        Ok(())
    }

    fn finish(&self, names: &Names<'_>, record: &mut Record) -> Result<()> {
        if self.header == Header::Llmc && record.halves[0].tokens > 0 {
            let header = llmc_header(self.dtype, record.halves[0].tokens);
            self.ids[0].write_header(&header.ok_or_else(|| over_header(&names.final_ids().display().to_string()))?)?;
        }
        for side in [0, 1] {
            if record.halves[side].tokens > 0 {
                self.ids[side].sync()?;
                self.index[side].sync()?;
            }
        }
        if let Some(log) = &self.log {
            log.sync()?;
        }
        for (target, place) in [(&self.ids[0], names.final_ids()), (&self.index[0], names.final_index())] {
            if record.halves[0].tokens == 0 {
                remove(target.path())?;
            } else {
                std::fs::rename(target.path(), &place).map_err(|error| write_error("move", &place, &error))?;
            }
        }
        // what it stands for is on the disk, and under its name
        sync_folder(names.folder)?;
        record.complete = true;
        write_atomically(&names.record(), &to_json(record))
    }
}

impl<T: Id> State<T> {
    /// Gives an output its places and moves the totals on.
    fn place(&mut self, output: &mut EncodedBlock<T>, dtype: Dtype, logged: bool) {
        let before = [self.record.halves[0].tokens, self.record.halves[1].tokens];
        let mut last = before;
        for part in &output.parts {
            let side = part.side as usize;
            let half = &mut self.record.halves[side];
            let end = before[side] + part.end as u64;
            half.open_bytes += part.bytes;
            half.open = Some(!part.ends);
            if logged {
                output.log.extend_from_slice(&log_entry(part, end - last[side]));
                self.record.log_entries += 1;
            }
            last[side] = end;
            if part.ends {
                output.index[side].extend_from_slice(&end.to_le_bytes());
                half.entries += 1;
                half.documents += 1;
                half.text_bytes += half.open_bytes;
                half.open_bytes = 0;
                half.open_start = end;
            }
        }
        for side in [0, 1] {
            let half = &mut self.record.halves[side];
            half.tokens += output.ids[side].len() as u64;
            output.places[side] = self.ids[side].append(T::bytes(&output.ids[side]));
            output.places[2 + side] = self.index[side].append(&output.index[side]);
            debug_assert_eq!(self.ids[side].length, half.tokens * dtype.size());
        }
        output.places[4] = self.log.append(&output.log);
        self.record.skip(std::mem::take(&mut output.skipped));
        self.record.replaced += output.replaced;
    }

    fn snapshot(&self) -> Record {
        let mut record = self.record.clone();
        for side in [0, 1] {
            record.halves[side].hash = self.ids[side].digest();
            record.halves[side].index_hash = self.index[side].digest();
        }
        record.log_hash = self.log.digest();
        record
    }
}

fn log_entry(part: &Part, tokens: u64) -> [u8; LOG_ENTRY as usize] {
    let mut entry = [0; LOG_ENTRY as usize];
    entry[..8].copy_from_slice(&(part.bytes << 2 | u64::from(!part.ends) << 1 | part.side as u64).to_le_bytes());
    entry[8..].copy_from_slice(&tokens.to_le_bytes());
    entry
}

fn over_header(what: &str) -> Error {
    Error::data(format!("{what} holds more than {LLMC_MOST} tokens, the most that llm.c's header can count")).hint(
        "give a smaller --shard-tokens, cut up or decompress a compressed file, which is one shard, \
         or leave out --format llmc",
    )
}

/// 256 little-endian int32: magic, version, tokens; None where the tokens are too many for one.
pub(super) fn llmc_header(dtype: Dtype, tokens: u64) -> Option<Vec<u8>> {
    let tokens = i32::try_from(tokens).ok()? as u32;
    let (magic, version) = match dtype {
        Dtype::Uint16 => (20_240_520u32, 1u32),
        Dtype::Uint32 => (20_240_801, 7),
    };
    let mut header = vec![0; 1024];
    for (place, value) in [magic, version, tokens].into_iter().enumerate() {
        header[4 * place..4 * place + 4].copy_from_slice(&value.to_le_bytes());
    }
    Some(header)
}

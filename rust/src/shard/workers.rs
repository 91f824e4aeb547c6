//! The threads that encode a job: who takes which block, who waits for whom, and what ends them all.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::block::EncodedBlock;
use super::encoder::TextEncoder;
use super::plan::Job;
use super::progress::{Counters, Progress};
use super::record::{record, stands, Names, Record};
use super::task::{Observer, Task};
use super::writer::{Item, ShardWriter};
use crate::error::Result;
use crate::id::Id;
use crate::input::{Block, Event, Feed, Ticket};
use crate::threads::watched;

struct Workers<'a, E, T> {
    task: &'a Task<'a>,
    encoder: &'a E,
    feed: Feed,
    counters: Counters,
    /// Those that are being written: opened with their first block, closed after their last.
    shards: Mutex<BTreeMap<usize, Arc<ShardWriter<T>>>>,
    buffers: Mutex<Vec<EncodedBlock<T>>>,
    returned: Condvar,
    /// Totals of complete shards by number, for the limit.
    totals: Mutex<BTreeMap<usize, (u64, u64, u64)>>,
}

/// Encodes what is missing of the shards of this rank.
pub(super) fn encode<E: TextEncoder, T: Id>(
    task: &Task<'_>,
    encoder: &E,
    observe: &mut Observer<'_>,
) -> Result<Progress> {
    let job = task.job;
    let limit = job.settings.request.limit;
    let threads = task.threads.max(1);
    let (mut shards, mut lanes, mut totals) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    let (mut total, mut before) = (0, 0);
    let mut reached = (0, 0, 0);
    let mut gap = false;
    for (number, units) in job.shards.iter().enumerate() {
        if !gap && limit.is_some_and(|limit| limit.reached(reached.0, reached.1, reached.2)) {
            break;
        }
        let names = Names { folder: task.folder, shard: number };
        let record = record(&names, job);
        let bytes = |units: std::ops::Range<usize>| job.units[units].iter().map(|unit| unit.bytes).sum::<u64>();
        if let Some(record) = record.as_ref().filter(|record| stands(&names, record, job)) {
            let (documents, text, tokens) = record.totals();
            reached = (reached.0 + documents, reached.1 + text, reached.2 + tokens);
            totals.insert(number, record.totals());
            before += bytes(units.clone());
            continue;
        }
        gap = true;
        if number % task.share.world != task.share.rank {
            continue;
        }
        let mut done = 0;
        // one that was complete and has lost a file is written anew
        if record.as_ref().is_some_and(|record| !record.complete) {
            let (writer, units) = open::<T>(job, &names, record)?;
            done = units;
            shards.insert(number, Arc::new(writer));
        }
        before += bytes(units.start..units.start + done);
        let left = units.start + done..units.end;
        total += bytes(left.clone());
        lanes.push((number, left));
    }
    let feed = Feed::new(task.input, Arc::new(job.units.clone()), lanes, job.settings.rule);
    // one for each thread, and some that wait for an earlier block
    let buffers = (0..2 * threads + 2).map(|_| EncodedBlock::new()).collect();
    let workers = Workers {
        task,
        encoder,
        feed,
        counters: Counters::default(),
        shards: Mutex::new(shards),
        buffers: Mutex::new(buffers),
        returned: Condvar::new(),
        totals: Mutex::new(totals),
    };
    let started = Instant::now();
    let snapshot = || workers.counters.snapshot(started.elapsed().as_secs_f64(), total, before);
    watched(threads, "encoding", &|worker| workers.serve(worker), &|| workers.stop(), &mut || observe(&snapshot()))?;
    Ok(snapshot())
}

fn open<T: Id>(job: &Job, names: &Names<'_>, record: Option<Record>) -> Result<(ShardWriter<T>, usize)> {
    let request = &job.settings.request;
    ShardWriter::open(names, request.header, job.settings.dtype, request.limit.is_some(), record)
}

impl<E: TextEncoder, T: Id> Workers<'_, E, T> {
    /// Makes all threads end.
    fn stop(&self) {
        self.counters.cancel();
        self.feed.stop();
        self.returned.notify_all();
    }

    fn serve(&self, worker: usize) -> Result<()> {
        let mut scratch = self.encoder.scratch();
        let eot = self.task.job.settings.request.eot;
        // the buffer before the ticket: whoever holds the earliest ticket can then always go on
        while let Some(mut output) = self.buffer()? {
            let Some(Ticket { lane, sequence, event, .. }) = self.feed.next(worker)? else {
                self.give_back(vec![output]);
                break;
            };
            let shard = self.shard(lane)?;
            let item = match event {
                Event::Block(raw) => {
                    let bytes = raw.len() as u64;
                    let file = &self.task.input.files[raw.file()];
                    let block = Block::new(raw, file, &self.task.input.options, self.task.job.settings.rule)?;
                    output.fill(block, self.encoder, &mut scratch, eot)?;
                    Counters::add(&self.counters.bytes, bytes);
                    Counters::add(&self.counters.tokens, output.tokens());
                    Counters::add(&self.counters.documents, output.documents());
                    Item::EncodedBlock(output)
                }
                Event::UnitEnd => {
                    self.give_back(vec![output]);
                    Item::UnitEnd
                }
                Event::LaneEnd => {
                    self.give_back(vec![output]);
                    Item::LaneEnd
                }
            };
            let committed = shard.commit(sequence, item)?;
            Counters::add(&self.counters.units, committed.units);
            self.give_back(committed.free);
            if let Some(record) = committed.record {
                self.lock_totals().insert(lane, record.totals());
                self.shards.lock().unwrap_or_else(PoisonError::into_inner).remove(&lane);
            }
            self.check_limit(lane, committed.totals);
        }
        Ok(())
    }

    fn shard(&self, number: usize) -> Result<Arc<ShardWriter<T>>> {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = shards.get(&number) {
            return Ok(shard.clone());
        }
        let names = Names { folder: self.task.folder, shard: number };
        let shard = Arc::new(open(self.task.job, &names, None)?.0);
        shards.insert(number, shard.clone());
        Ok(shard)
    }

    fn lock_totals(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, (u64, u64, u64)>> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the work once the shards from the first on hold what is wanted.
    fn check_limit(&self, lane: usize, now: (u64, u64, u64)) {
        let Some(limit) = self.task.job.settings.request.limit else { return };
        let totals = self.lock_totals();
        let before = (0..lane).try_fold((0, 0, 0), |sum, shard| {
            let add = totals.get(&shard)?;
            Some((sum.0 + add.0, sum.1 + add.1, sum.2 + add.2))
        });
        // what earlier shards hold may not be known yet; this one's own may do
        let before = before.unwrap_or((0, 0, 0));
        if limit.reached(before.0 + now.0, before.1 + now.1, before.2 + now.2) {
            self.feed.end_after(lane);
        }
    }

    fn buffer(&self) -> Result<Option<EncodedBlock<T>>> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.counters.check().is_err() {
                return Ok(None);
            }
            if let Some(output) = buffers.pop() {
                return Ok(Some(output));
            }
            buffers = self.returned.wait(buffers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, outputs: Vec<EncodedBlock<T>>) {
        if outputs.is_empty() {
            return;
        }
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner).extend(outputs);
        self.returned.notify_all();
    }
}

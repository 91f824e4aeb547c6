//! The threads that make parts of units: who takes which block, who waits for whom, and what ends them all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::chain::{Chain, Made};
use super::part::{standing, PartWriter};
use super::task::{Observer, Progress, Task};
use crate::error::Result;
use crate::input::{Block, Event, Feed, Ticket, Validation};
use crate::threads::watched;

struct Workers<'a> {
    task: &'a Task<'a>,
    chain: &'a Chain,
    feed: Feed,
    bytes: AtomicU64,
    documents: AtomicU64,
    /// Those that are being written.
    parts: Mutex<BTreeMap<usize, Arc<PartWriter>>>,
    buffers: Mutex<Vec<Made>>,
    returned: Condvar,
    failed: AtomicBool,
}

/// Makes what is missing of the parts of this rank.
pub(super) fn make_parts(task: &Task<'_>, chain: &Chain, observe: &mut Observer<'_>) -> Result<Progress> {
    let job = task.job;
    let threads = task.threads.max(1);
    let (mut lanes, mut total, mut before) = (Vec::new(), 0, 0);
    for (number, unit) in job.units.iter().enumerate() {
        if standing(task.folder, number).is_some() {
            before += unit.bytes;
        } else if number % task.share.world == task.share.rank {
            total += unit.bytes;
            lanes.push((number, number..number + 1));
        }
    }
    let workers = Workers {
        task,
        chain,
        feed: Feed::new(task.input, Arc::new(job.units.clone()), lanes, Validation::None),
        bytes: AtomicU64::new(0),
        documents: AtomicU64::new(0),
        parts: Mutex::default(),
        // one for each thread, and some that wait for an earlier block
        buffers: Mutex::new((0..2 * threads + 2).map(|_| Made::default()).collect()),
        returned: Condvar::new(),
        failed: AtomicBool::new(false),
    };
    let started = Instant::now();
    let progress = || Progress {
        seconds: started.elapsed().as_secs_f64(),
        bytes: workers.bytes.load(Ordering::Relaxed),
        total_bytes: total,
        done_before: before,
        documents: workers.documents.load(Ordering::Relaxed),
    };
    watched(threads, "cleaning", &|worker| workers.serve(worker), &|| workers.stop(), &mut || observe(&progress()))?;
    Ok(progress())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Workers<'_> {
    /// Makes all threads end.
    fn stop(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.feed.stop();
        self.returned.notify_all();
    }

    fn serve(&self, worker: usize) -> Result<()> {
        let mut scratch = self.chain.scratch();
        // the buffer before the ticket: whoever holds the earliest ticket can then always go on
        while let Some(mut made) = self.buffer() {
            let Some(Ticket { lane, sequence, event }) = self.feed.next(worker)? else {
                self.give_back(vec![made]);
                break;
            };
            let item = match event {
                Event::Block(raw) => {
                    let (source, bytes) = (raw.file(), raw.len() as u64);
                    let input = self.task.input;
                    let block = Block::new(raw, &input.files[source], &input.options, Validation::None)?;
                    self.chain.pass(&block, source as u32, &mut scratch, &mut made)?;
                    self.bytes.fetch_add(bytes, Ordering::Relaxed);
                    self.documents.fetch_add(u64::from(made.documents), Ordering::Relaxed);
                    Some(made)
                }
                Event::UnitEnd => {
                    self.give_back(vec![made]);
                    None
                }
                Event::LaneEnd => {
                    self.give_back(vec![made]);
                    continue;
                }
            };
            let (free, whole) = self.part(lane)?.commit(sequence, item)?;
            self.give_back(free);
            if whole {
                lock(&self.parts).remove(&lane);
            }
        }
        Ok(())
    }

    fn part(&self, unit: usize) -> Result<Arc<PartWriter>> {
        let mut parts = lock(&self.parts);
        if let Some(part) = parts.get(&unit) {
            return Ok(part.clone());
        }
        let part = Arc::new(PartWriter::open(self.task.folder, unit)?);
        parts.insert(unit, part.clone());
        Ok(part)
    }

    /// None where something failed.
    fn buffer(&self) -> Option<Made> {
        let mut buffers = lock(&self.buffers);
        loop {
            if self.failed.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(made) = buffers.pop() {
                return Some(made);
            }
            buffers = self.returned.wait(buffers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, free: Vec<Made>) {
        if !free.is_empty() {
            lock(&self.buffers).extend(free);
            self.returned.notify_all();
        }
    }
}

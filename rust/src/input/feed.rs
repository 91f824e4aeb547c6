//! One shared object from which worker threads pull blocks.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::reader::UnitReader;
use super::{plan_units, Block, Input, RawBlock, Unit, Validation};
use crate::error::Result;

/// Something taken from a lane, numbered in the lane's order.
pub struct Ticket {
    pub lane: usize,
    pub sequence: u64,
    pub event: Event,
}

pub enum Event {
    Block(RawBlock),
    /// All blocks of the unit came before.
    UnitEnd,
    /// All units of the lane came before.
    LaneEnd,
}

/// Hands out blocks, those of earlier lanes first. A lane is a run of units that is read in order: what becomes one
/// shard.
pub struct Feed {
    input: Input,
    units: Arc<Vec<Unit>>,
    validation: Validation,
    lanes: Mutex<Lanes>,
    /// Lanes after this one are not wanted any more, and this one ends where it is.
    last: AtomicUsize,
}

struct Lanes {
    waiting: std::vec::IntoIter<(usize, Range<usize>)>,
    active: Vec<Arc<Lane>>,
    stopped: bool,
}

struct Lane {
    number: usize,
    /// Cutting a block off takes a while (it is decompressed): other threads had better begin another lane.
    slow: AtomicBool,
    done: AtomicBool,
    state: Mutex<LaneState>,
}

struct LaneState {
    units: Range<usize>,
    reader: Option<UnitReader>,
    sequence: u64,
}

/// Threads that one lane of a mapped file keeps busy before a second lane is begun.
const THREADS_A_LANE: usize = 8;

impl Feed {
    /// `lanes`: their numbers and the units they consist of.
    pub fn new(
        input: &Input,
        units: Arc<Vec<Unit>>,
        lanes: Vec<(usize, Range<usize>)>,
        validation: Validation,
    ) -> Self {
        let lanes = Lanes { waiting: lanes.into_iter(), active: Vec::new(), stopped: false };
        let (lanes, last) = (Mutex::new(lanes), AtomicUsize::new(usize::MAX));
        Self { input: input.clone(), units, validation, lanes, last }
    }

    /// The next thing to do for the `worker`-th of the threads that share the feed; None when nothing is left.
    /// After an error every thread gets None.
    pub fn next(&self, worker: usize) -> Result<Option<Ticket>> {
        while let Some(lane) = self.choose(worker) {
            let mut state = lane.state.lock().unwrap_or_else(PoisonError::into_inner);
            if lane.done.load(Ordering::Relaxed) || lane.number > self.last.load(Ordering::Relaxed) {
                continue;
            }
            return self.take(&lane, &mut state).map(Some).inspect_err(|_| self.stop());
        }
        Ok(None)
    }

    /// Hands out nothing more.
    pub fn stop(&self) {
        self.lock().stopped = true;
    }

    /// Ends a lane where it is, and gives up the later ones: what is after it is not wanted.
    pub fn end_after(&self, lane: usize) {
        self.last.fetch_min(lane, Ordering::Relaxed);
        let mut lanes = self.lock();
        lanes.waiting = lanes
            .waiting
            .as_slice()
            .iter()
            .filter(|(number, _)| *number <= lane)
            .cloned()
            .collect::<Vec<_>>()
            .into_iter();
        lanes.active.retain(|active| active.number <= lane);
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(&self, worker: usize) -> Option<Arc<Lane>> {
        let mut lanes = self.lock();
        if lanes.stopped {
            return None;
        }
        let free = lanes
            .active
            .iter()
            .skip(worker / THREADS_A_LANE)
            .find(|lane| !lane.slow.load(Ordering::Relaxed) || lane.state.try_lock().is_ok());
        if let Some(lane) = free {
            return Some(lane.clone());
        }
        if let Some((number, units)) = lanes.waiting.next() {
            let state = Mutex::new(LaneState { units, reader: None, sequence: 0 });
            let lane = Arc::new(Lane { number, slow: AtomicBool::new(false), done: AtomicBool::new(false), state });
            lanes.active.push(lane.clone());
            return Some(lane);
        }
        // all are busy: wait for one
        let count = lanes.active.len().max(1);
        lanes.active.get(worker % count).cloned()
    }

    fn take(&self, lane: &Arc<Lane>, state: &mut LaneState) -> Result<Ticket> {
        let unit = state.units.start;
        let event = if unit == state.units.end || lane.number == self.last.load(Ordering::Relaxed) {
            lane.done.store(true, Ordering::Relaxed);
            self.lock().active.retain(|active| !Arc::ptr_eq(active, lane));
            Event::LaneEnd
        } else {
            let begin = || UnitReader::new(&self.input, &self.units[unit], self.validation);
            let reader = state.reader.get_or_insert_with(begin);
            let next = reader.next()?;
            lane.slow.store(reader.slow(), Ordering::Relaxed);
            if let Some(block) = next {
                Event::Block(block)
            } else {
                state.reader = None;
                state.units.start += 1;
                Event::UnitEnd
            }
        };
        let sequence = state.sequence;
        state.sequence += 1;
        Ok(Ticket { lane: lane.number, sequence, event })
    }
}

/// The documents of the sources for threads that do not care for their order, such as those that count words. Pulled
/// by any number of threads from one shared object.
pub struct Blocks {
    feed: Feed,
    pub bytes: u64,
}

/// Bytes of a unit where nothing depends on it.
const UNIT: u64 = 64 << 20;

impl Blocks {
    pub fn new(input: &Input) -> Result<Self> {
        let units = Arc::new(plan_units(input, UNIT, Validation::None, None)?);
        let lanes = (0..units.len()).map(|unit| (unit, unit..unit + 1)).collect();
        let bytes = units.iter().map(|unit| unit.bytes).sum();
        Ok(Self { feed: Feed::new(input, units, lanes, Validation::None), bytes })
    }

    /// About a megabyte of documents, whole or cut where a pre-token cannot straddle; None when all were taken.
    pub fn next(&self) -> Result<Option<Block>> {
        while let Some(ticket) = self.feed.next(0)? {
            if let Event::Block(raw) = ticket.event {
                let file = &self.feed.input.files[raw.file()];
                let block = Block::new(raw, file, &self.feed.input.options, Validation::None);
                return block.map(Some).inspect_err(|_| self.feed.stop());
            }
        }
        Ok(None)
    }
}

//! What a long training tells about itself, and how it is stopped.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Count,
    Merge,
}

#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub phase: Phase,
    /// Bytes counted, or merges made.
    pub done: u64,
    /// Bytes or merges in all; 0 where the source does not know.
    pub total: u64,
    /// Of this phase.
    pub seconds: f64,
}

impl Report {
    /// Bytes or merges a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.seconds.max(1e-9)
    }

    /// Seconds left at this rate, where the end is known. Late merges are quicker than early ones: an upper bound
    /// there.
    pub fn left(&self) -> Option<f64> {
        (self.total > 0 && self.done > 0).then(|| self.total.saturating_sub(self.done) as f64 / self.rate())
    }
}

/// Who is told, from the thread that called, about five times a second.
pub trait Watch: Sync {
    /// False stops the training.
    fn report(&self, report: &Report) -> bool;
}

/// Nobody is told.
pub struct Unwatched;

impl Watch for Unwatched {
    fn report(&self, _: &Report) -> bool {
        true
    }
}

const INTERVAL: Duration = Duration::from_millis(200);

pub(super) struct Clock<'a> {
    watch: &'a dyn Watch,
    begun: Cell<Instant>,
    told: Cell<Option<Instant>>,
    phase: Cell<Phase>,
}

impl<'a> Clock<'a> {
    pub fn new(watch: &'a dyn Watch) -> Self {
        let begun = Cell::new(Instant::now());
        Self { watch, begun, told: Cell::new(None), phase: Cell::new(Phase::Count) }
    }

    pub fn tick(&self, phase: Phase, done: u64, total: u64) -> Result<()> {
        let now = Instant::now();
        if phase != self.phase.get() {
            self.phase.set(phase);
            self.begun.set(now);
            self.told.set(None);
        }
        if self.told.get().is_some_and(|told| now - told < INTERVAL) {
            return Ok(());
        }
        self.told.set(Some(now));
        let seconds = (now - self.begun.get()).as_secs_f64();
        if self.watch.report(&Report { phase, done, total, seconds }) {
            Ok(())
        } else {
            Err(Error::interrupted())
        }
    }
}

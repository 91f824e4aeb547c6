//! Counters that workers raise and whoever waits for them reads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

#[derive(Default)]
pub(super) struct Counters {
    pub bytes: AtomicU64,
    pub tokens: AtomicU64,
    pub documents: AtomicU64,
    pub units: AtomicU64,
    pub cancelled: AtomicBool,
}

impl Counters {
    pub fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    pub fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        Ok(())
    }

    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    pub fn snapshot(&self, seconds: f64, total_bytes: u64, done_before: u64) -> Progress {
        Progress {
            seconds,
            bytes: self.bytes.load(Ordering::Relaxed),
            total_bytes,
            done_before,
            tokens: self.tokens.load(Ordering::Relaxed),
            documents: self.documents.load(Ordering::Relaxed),
            units: self.units.load(Ordering::Relaxed),
        }
    }
}

/// How far this run is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub seconds: f64,
    /// Bytes of text read by this run.
    pub bytes: u64,
    /// Bytes that this run has to do, as planned.
    pub total_bytes: u64,
    /// Bytes that earlier runs had done.
    pub done_before: u64,
    pub tokens: u64,
    pub documents: u64,
    pub units: u64,
}

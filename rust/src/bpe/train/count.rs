//! Counting: threads pull text, cut it into pre-tokens and count them in tables of their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::progress::{Clock, Phase};
use super::table::{Probe, Table};
use crate::error::Result;
use crate::pattern::Pattern;

/// Where the text comes from. Threads share it.
pub trait Texts: Sync {
    /// Takes the next block, hands each of its texts to `visit`, and says whether there was one. A text begins and
    /// ends where a pre-token does: it is a document, or was cut off one by [`Pattern::safe_cut`].
    fn next(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Bytes in all, where known, for who waits.
    fn bytes(&self) -> u64 {
        0
    }
}

/// Every distinct pre-token and how often it occurs.
pub(super) struct Counts {
    pub words: Table,
    pub bytes: u64,
    pub pre_tokens: u64,
}

/// Pre-tokens whose table lines are asked for together.
const BATCH: usize = 64;

/// What the counting threads share.
struct Shared<'a> {
    texts: &'a dyn Texts,
    pattern: &'a Pattern,
    bytes: AtomicU64,
    pre_tokens: AtomicU64,
    stop: AtomicBool,
}

pub(super) fn count(texts: &dyn Texts, pattern: &Pattern, threads: usize, clock: &Clock<'_>) -> Result<Counts> {
    let shared = Shared {
        texts,
        pattern,
        bytes: AtomicU64::new(0),
        pre_tokens: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let failure = Mutex::new(None);
    let fail = |error| {
        shared.stop.store(true, Ordering::Relaxed);
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let mut tables = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut counter = Counter::new();
                    while counter.block(&shared).unwrap_or_else(|error| {
                        fail(error);
                        false
                    }) {}
                    counter.table
                })
            })
            .collect();
        let mut counter = Counter::new();
        loop {
            let more = counter.block(&shared);
            let told = clock.tick(Phase::Count, shared.bytes.load(Ordering::Relaxed), texts.bytes());
            match more.and_then(|more| told.map(|()| more)) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    fail(error);
                    break;
                }
            }
        }
        let mut tables = vec![counter.table];
        tables.extend(others.into_iter().map(|thread| thread.join().expect("a counting thread")));
        tables
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut words = tables.swap_remove(0);
    for table in tables {
        words.absorb(&table);
    }
    Ok(Counts { words, bytes: shared.bytes.into_inner(), pre_tokens: shared.pre_tokens.into_inner() })
}

struct Counter {
    table: Table,
    ends: Vec<u32>,
}

impl Counter {
    fn new() -> Self {
        Self { table: Table::new(), ends: Vec::new() }
    }

    /// Counts one block; false when there was none.
    fn block(&mut self, shared: &Shared<'_>) -> Result<bool> {
        if shared.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (mut bytes, mut pre_tokens) = (0, 0);
        let more = shared.texts.next(&mut |text| {
            pre_tokens += self.text(text, shared.pattern);
            bytes += text.len() as u64;
        });
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.pre_tokens.fetch_add(pre_tokens, Ordering::Relaxed);
        more
    }

    fn text(&mut self, text: &[u8], pattern: &Pattern) -> u64 {
        let mut pre_tokens = 0;
        let mut at = 0;
        while at < text.len() {
            let next = pattern.scan(text, at, &mut self.ends);
            pre_tokens += self.ends.len() as u64;
            self.add(text, at);
            at = next;
        }
        pre_tokens
    }

    /// Counts the pre-tokens whose ends, relative to `base`, were found.
    fn add(&mut self, text: &[u8], base: usize) {
        let mut start = base;
        let mut probes = [Probe::default(); BATCH];
        for ends in self.ends.chunks(BATCH) {
            self.table.reserve(BATCH);
            let first = start;
            for (probe, &end) in probes.iter_mut().zip(ends) {
                let end = base + end as usize;
                *probe = Probe::new(text, start, end);
                self.table.prefetch(*probe);
                start = end;
            }
            start = first;
            for (probe, &end) in probes.iter().zip(ends) {
                let end = base + end as usize;
                self.table.add(*probe, &text[start..end], 1);
                start = end;
            }
        }
    }
}

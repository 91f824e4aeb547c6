//! Counting: threads pull text, cut it into pre-tokens and count them in tables of their own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::count_table::{CountTable, Probe};
use super::progress::{Clock, Phase};
use super::spill::{self, Sorted, Temporary};
use super::words::Words;
use crate::error::{Error, Result};
use crate::pattern::Pattern;
use crate::threads::spawn;

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

/// What counting came to.
pub(super) struct Counts {
    pub words: Words,
    pub bytes: u64,
    pub pre_tokens: u64,
    /// How often a table was written to disk.
    pub spills: u64,
}

/// Where tables go that outgrow the memory that is allowed.
pub(super) struct Spill {
    folder: Temporary,
    runs: Mutex<Vec<Sorted>>,
    /// Bytes that a thread's table may take.
    allowed: usize,
}

impl Spill {
    /// Of what is allowed, the list that sorts a table takes a third.
    pub fn new(memory: u64, threads: usize, parent: &Path) -> Result<Self> {
        let allowed = (memory as usize / threads) / 3 * 2;
        Ok(Self { folder: Temporary::new(parent)?, runs: Mutex::default(), allowed })
    }

    fn write(&self, table: &mut CountTable) -> Result<()> {
        let table = std::mem::replace(table, CountTable::new());
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.folder.path.join(format!("run-{}", runs.len()));
        // one file at a time: two threads would only make the disk seek
        runs.push(spill::write_table(&table, &path)?);
        Ok(())
    }
}

/// Pre-tokens whose table lines are asked for together.
const BATCH: usize = 64;

/// What the counting threads share.
struct Shared<'a> {
    texts: &'a dyn Texts,
    pattern: &'a Pattern,
    spill: Option<&'a Spill>,
    bytes: AtomicU64,
    pre_tokens: AtomicU64,
    stop: AtomicBool,
}

/// Stops all who count when it is dropped.
struct Leaving<'a>(&'a AtomicBool);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(super) fn count(
    texts: &dyn Texts,
    pattern: &Pattern,
    threads: usize,
    spill: Option<Spill>,
    clock: &Clock<'_>,
) -> Result<Counts> {
    let shared = Shared {
        texts,
        pattern,
        spill: spill.as_ref(),
        bytes: AtomicU64::new(0),
        pre_tokens: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let failure = Mutex::new(None);
    let fail = |error| {
        shared.stop.store(true, Ordering::Relaxed);
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    let tables = std::thread::scope(|scope| {
        let mut others = Vec::new();
        for _ in 1..threads {
            let count = || {
                // the others stop even if this one panics
                let leaving = Leaving(&shared.stop);
                let mut counter = Counter::new();
                while counter.block(&shared).unwrap_or_else(|error| {
                    fail(error);
                    false
                }) {}
                std::mem::forget(leaving);
                counter.table
            };
            match spawn(scope, count) {
                Ok(thread) => others.push(thread),
                Err(error) => {
                    fail(error);
                    break;
                }
            }
        }
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
        for thread in others {
            match thread.join() {
                Ok(table) => tables.push(table),
                Err(_) => fail(
                    Error::tokenizer("a thread failed while it counted, through a fault of pylm")
                        .hint("please report it, with the lines above; --threads 1 may train all the same"),
                ),
            }
        }
        tables
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let (bytes, pre_tokens) = (shared.bytes.into_inner(), shared.pre_tokens.into_inner());
    let (words, spills) = gather(tables, spill)?;
    Ok(Counts { words, bytes, pre_tokens, spills })
}

/// One count of what several tables and files counted.
fn gather(mut tables: Vec<CountTable>, spill: Option<Spill>) -> Result<(Words, u64)> {
    match spill {
        Some(spill) if !spill.runs.lock().unwrap_or_else(PoisonError::into_inner).is_empty() => {
            for mut table in tables {
                spill.write(&mut table)?;
            }
            let runs = spill.runs.into_inner().unwrap_or_else(PoisonError::into_inner);
            let spills = runs.len() as u64;
            let sorted = spill::merge(runs, &spill.folder.path)?;
            Ok((Words::File { sorted, _folder: Some(spill.folder) }, spills))
        }
        _ => {
            let mut words = tables.swap_remove(0);
            for table in tables {
                words.absorb(&table);
            }
            Ok((Words::Table(words), 0))
        }
    }
}

struct Counter {
    table: CountTable,
    ends: Vec<u32>,
}

impl Counter {
    fn new() -> Self {
        Self { table: CountTable::new(), ends: Vec::new() }
    }

    /// Counts one block; false when there was none.
    fn block(&mut self, shared: &Shared<'_>) -> Result<bool> {
        if shared.stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let (mut bytes, mut pre_tokens) = (0, 0);
        let mut spilled = Ok(());
        let more = shared.texts.next(&mut |text| {
            if spilled.is_ok() {
                spilled = self.text(text, shared.pattern, shared.spill).map(|found| pre_tokens += found);
                bytes += text.len() as u64;
            }
        });
        spilled?;
        shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.pre_tokens.fetch_add(pre_tokens, Ordering::Relaxed);
        more
    }

    fn text(&mut self, text: &[u8], pattern: &Pattern, spill: Option<&Spill>) -> Result<u64> {
        let mut pre_tokens = 0;
        let mut at = 0;
        while at < text.len() {
            let next = pattern.scan(text, at, &mut self.ends)?;
            pre_tokens += self.ends.len() as u64;
            if let Some(spill) = spill {
                if self.table.len() > 0 && self.table.bytes_with(self.ends.len(), next - at) > spill.allowed {
                    spill.write(&mut self.table)?;
                }
            }
            self.add(text, at);
            at = next;
        }
        Ok(pre_tokens)
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

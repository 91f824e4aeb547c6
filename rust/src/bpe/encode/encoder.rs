//! Text to ids.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use super::batch;
use super::long_cache::LongCache;
use super::misses::Misses;
use super::packed_ids::{Narrow, Packing, Wide, SLACK};
use super::ring::Ring;
use super::scratch::Scratch;
use super::tables::EncodeTables;
use crate::bpe::merge::by_rank::{merge, Parts};
use crate::bpe::merge::windows::WindowMerger;
use crate::bpe::vocab::specials::{Allowed, Chosen, Finder};
use crate::bpe::vocab::Vocab;
use crate::error::Result;
use crate::id::{is_narrow, Id};

/// A compiled vocabulary. Share it between threads; each has its own [`Scratch`].
pub struct Encoder {
    pub vocab: Vocab,
    pub(super) tables: EncodeTables,
    specials: Finder,
    number: u64,
    idle: Mutex<Vec<Scratch>>,
}

impl Encoder {
    pub fn new(vocab: Vocab) -> Self {
        let tables = if is_narrow(vocab.size()) {
            EncodeTables::new::<Narrow>(&vocab.model, &vocab.tokens)
        } else {
            EncodeTables::new::<Wide>(&vocab.model, &vocab.tokens)
        };
        Self::of_tables(vocab, tables)
    }

    pub(super) fn of_tables(vocab: Vocab, tables: EncodeTables) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let specials = Finder::new(&vocab);
        Self { vocab, tables, specials, number: COUNT.fetch_add(1, Ordering::Relaxed), idle: Mutex::default() }
    }

    /// Its cache starts with the vocabulary in it, so that the first text is encoded as fast as the next.
    pub fn scratch(&self) -> Scratch {
        Scratch {
            owner: self.number,
            worker: 0,
            ends: Vec::new(),
            cache: self.tables.cache(),
            long: LongCache::new(),
            misses: Misses::default(),
            ring: Ring::default(),
            window_merger: WindowMerger::default(),
        }
    }

    /// Runs `work` with a scratch that an earlier call has left, the one of the same worker where that is idle, so that
    /// short calls do not pay for a new one and long ones find in it what they have seen.
    pub fn with_scratch<R>(&self, worker: usize, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let kept = self.idle.lock().ok().and_then(|mut idle| {
            let own = idle.iter().position(|scratch| scratch.worker == worker);
            own.or(idle.len().checked_sub(1)).map(|place| idle.swap_remove(place))
        });
        let mut scratch = kept.unwrap_or_else(|| Scratch { worker, ..self.scratch() });
        let result = work(&mut scratch);
        if let Ok(mut idle) = self.idle.lock() {
            if idle.len() < most_idle() {
                idle.push(scratch);
            }
        }
        result
    }

    /// Appends the ids of `text`; what looks like an added token is text, special or not.
    pub fn encode<T: Id>(&self, text: &[u8], scratch: &mut Scratch, out: &mut Vec<T>) -> Result<()> {
        let mut at = 0;
        while at < text.len() {
            at = self.encode_some(text, at, usize::MAX, scratch, out)?;
        }
        Ok(())
    }

    /// Appends the ids of pre-tokens from `start`, a boundary, until `budget` bytes are done; returns where to go on.
    ///
    /// # Panics
    /// Where `T` is too narrow for the vocabulary.
    pub fn encode_some<T: Id>(
        &self,
        text: &[u8],
        start: usize,
        budget: usize,
        scratch: &mut Scratch,
        out: &mut Vec<T>,
    ) -> Result<usize> {
        if scratch.owner != self.number {
            *scratch = self.scratch();
        }
        if is_narrow(self.vocab.size()) {
            self.encode_packed::<Narrow, T>(text, start, budget, scratch, out)
        } else {
            assert!(size_of::<T>() > 2, "ids of this vocabulary do not fit in 16 bits");
            self.encode_packed::<Wide, T>(text, start, budget, scratch, out)
        }
    }

    fn encode_packed<V: Packing, T: Id>(
        &self,
        text: &[u8],
        start: usize,
        budget: usize,
        scratch: &mut Scratch,
        out: &mut Vec<T>,
    ) -> Result<usize> {
        let mut at = start;
        let mut ends = std::mem::take(&mut scratch.ends);
        while at < text.len() && at - start < budget {
            let next = self.vocab.pattern.scan(text, at, &mut ends)?;
            // a pre-token has no more tokens than bytes
            out.reserve(next - at + SLACK);
            // SAFETY: the room was just reserved, and `encode` says how much of it holds ids
            unsafe {
                let room = out.as_mut_ptr().add(out.len());
                let count = batch::encode::<V, T>(&self.vocab.model, &self.tables, &text[at..], &ends, scratch, room);
                out.set_len(out.len() + count);
            }
            at = next;
        }
        scratch.ends = ends;
        Ok(at)
    }

    /// Appends the ids of `text`, where the special tokens that `allowed` names are their ids.
    pub fn encode_with<T: Id>(
        &self,
        text: &[u8],
        allowed: &Allowed,
        scratch: &mut Scratch,
        out: &mut Vec<T>,
    ) -> Result<()> {
        self.choose(allowed)?.split(text, |stretch, special| {
            self.encode(stretch, scratch, out)?;
            out.extend(special.map(T::from_u32));
            Ok(())
        })
    }

    /// What is looked for in texts that allow the same; fails where they name what is no special token.
    pub fn choose(&self, allowed: &Allowed) -> Result<Chosen<'_>> {
        self.specials.choose(&self.vocab, allowed)
    }

    /// Appends the ids of `text` by merging alone, the plain way that the fast one must agree with.
    pub fn encode_plainly(&self, text: &[u8], out: &mut Vec<u32>) -> Result<()> {
        let model = &self.vocab.model;
        let (mut at, mut ends, mut parts) = (0, Vec::new(), Parts::default());
        while at < text.len() {
            let next = self.vocab.pattern.scan(text, at, &mut ends)?;
            let mut from = at;
            for &end in &ends {
                let pre_token = &text[from..at + end as usize];
                from = at + end as usize;
                if let Some(&id) = model.whole.get(pre_token) {
                    out.push(id);
                } else {
                    merge(model, pre_token, &mut parts);
                    out.extend(parts.tokens().map(|token| model.ids[token as usize]));
                }
            }
            at = next;
        }
        Ok(())
    }
}

/// Scratches that wait for the next call: 22 MB each, so no more than can work at once, whatever number of threads
/// came.
fn most_idle() -> usize {
    static CORES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
}

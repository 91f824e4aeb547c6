//! Many texts, or one huge one, by several threads: a text is cut where no pre-token can straddle.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::encoder::Encoder;
use super::ragged::{Gather, Ragged};
use super::scratch::Scratch;
use crate::bpe::vocab::specials::{Allowed, Chosen};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::memory::spare::spare_or_new;

/// Bytes of a chunk: a megabyte is encoded in milliseconds, which is how soon Ctrl-C is heard.
const CHUNK: usize = 1 << 20;
/// What a thread must have to do: starting one costs as much as encoding 20 kB.
const WORTH_A_THREAD: usize = 100_000;
/// Bytes of text that a thread may be ahead of the first chunk that nobody has taken: its ids wait for their place.
const AHEAD: usize = 4 << 20;

/// How often is asked whether to go on, while the other threads are at work.
const ASKED: Duration = Duration::from_millis(20);

/// A stretch of ordinary text, and the special token that ends it.
struct Chunk {
    text: usize,
    range: Range<usize>,
    special: Option<u32>,
}

/// The ids of each text. `interrupted` is asked on this thread, between chunks and while others encode.
pub fn encode_all<T: Id>(
    encoder: &Encoder,
    texts: &[&[u8]],
    allowed: &Allowed,
    threads: usize,
    interrupted: &dyn Fn() -> bool,
) -> Result<Ragged<T>> {
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let threads = useful_threads(bytes, threads);
    // looking for a place to cut is in vain, and takes longer than encoding, where a text is one huge pre-token
    let chunk = if threads == 1 { usize::MAX / 2 } else { (bytes / (8 * threads)).clamp(WORTH_A_THREAD, CHUNK) };
    encode_in_chunks(encoder, texts, allowed, threads, chunk, interrupted)
}

/// The same with chunks of about `chunk` bytes.
pub fn encode_in_chunks<T: Id>(
    encoder: &Encoder,
    texts: &[&[u8]],
    allowed: &Allowed,
    threads: usize,
    chunk: usize,
    interrupted: &dyn Fn() -> bool,
) -> Result<Ragged<T>> {
    let mut chunks = Vec::new();
    let chosen = encoder.choose(allowed)?;
    for (number, text) in texts.iter().enumerate() {
        cut(encoder, number, text, &chosen, chunk, &mut chunks)?;
    }
    if threads < 2 || chunks.len() < 2 {
        return in_turn(encoder, texts, &chunks, interrupted);
    }
    let threads = threads.min(chunks.len());
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let turns = Turns::new(chunks.len(), threads, AHEAD * chunks.len() / bytes.max(1));
    let stop = AtomicBool::new(false);
    let failure = Mutex::new(None);
    let gather = Gather::new(expected(texts));
    let work = |worker: usize, interrupted: &dyn Fn() -> bool| {
        encoder.with_scratch(worker, |scratch| {
            let mut ids = Vec::new();
            let mut own = worker;
            while let Some(index) = turns.take(&mut own) {
                let chunk = &chunks[index];
                if interrupted() || stop.load(Ordering::Relaxed) {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
                let text = &texts[chunk.text][chunk.range.clone()];
                if let Err(error) = encode(encoder, text, scratch, &mut ids, interrupted) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
                ids.extend(chunk.special.map(T::from_u32));
                gather.put(index, &mut ids);
            }
        });
    };
    let (waiting, done) = (std::thread::current(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        for worker in 1..threads {
            let (work, stop, waiting, done) = (&work, &stop, waiting.clone(), &done);
            let started = std::thread::Builder::new().spawn_scoped(scope, move || {
                work(worker, &|| stop.load(Ordering::Relaxed));
                done.fetch_add(1, Ordering::Relaxed);
                waiting.unpark();
            });
            // a system that has no more threads to give: those that there are do the work, with the same ids
            let Ok(started) = started else { break };
            others.push(started);
        }
        work(0, interrupted);
        // nobody else can be asked, and the others may have long chunks left
        while !stop.load(Ordering::Relaxed) && !interrupted() {
            // one that panics is never done
            let all = done.load(Ordering::Relaxed) == others.len();
            if all || others.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                return;
            }
            std::thread::park_timeout(ASKED);
        }
        stop.store(true, Ordering::Relaxed);
    });
    if stop.into_inner() {
        let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
        return Err(failure.unwrap_or_else(Error::interrupted));
    }
    let (ids, ends) = gather.finish();
    let last = |own: &[(&Chunk, usize)]| own[own.len() - 1].1;
    let ends: Vec<(&Chunk, usize)> = chunks.iter().zip(ends).collect();
    let ends = ends.chunk_by(|left, right| left.0.text == right.0.text).map(last).collect();
    Ok(Ragged { ids, ends })
}

/// Who encodes which chunk. With n threads each takes every n-th, so that it meets its own pre-tokens when a text
/// comes again: what only another has seen, it would have to merge once more.
struct Turns {
    taken: Vec<AtomicBool>,
    /// All before were taken.
    first: AtomicUsize,
    threads: usize,
    /// Chunks that a thread may be ahead of the first that nobody has taken; it helps those behind then, and at the
    /// end.
    ahead: usize,
}

impl Turns {
    fn new(chunks: usize, threads: usize, ahead: usize) -> Self {
        let taken = std::iter::repeat_with(AtomicBool::default).take(chunks).collect();
        Self { taken, first: AtomicUsize::new(0), threads, ahead: ahead.max(threads) }
    }

    /// A chunk that nobody has taken; `own` is where the thread looks first.
    fn take(&self, own: &mut usize) -> Option<usize> {
        let is_taken = |at: usize| self.taken.get(at).is_some_and(|taken| taken.load(Ordering::Relaxed));
        loop {
            let mut first = self.first.load(Ordering::Relaxed);
            while is_taken(first) {
                first += 1;
            }
            self.first.fetch_max(first, Ordering::Relaxed);
            while is_taken(*own) {
                *own += self.threads;
            }
            let choice = if *own < self.taken.len() && *own <= first + self.ahead { *own } else { first };
            if !self.taken.get(choice)?.swap(true, Ordering::Relaxed) {
                return Some(choice);
            }
        }
    }
}

/// English has one id for 3.4 to 4.2 bytes; what needs more makes the array grow.
fn expected(texts: &[&[u8]]) -> usize {
    texts.iter().map(|text| text.len()).sum::<usize>() / 3
}

fn in_turn<T: Id>(
    encoder: &Encoder,
    texts: &[&[u8]],
    chunks: &[Chunk],
    interrupted: &dyn Fn() -> bool,
) -> Result<Ragged<T>> {
    let mut ragged = Ragged { ids: spare_or_new(expected(texts)), ends: Vec::with_capacity(texts.len()) };
    encoder.with_scratch(0, |scratch| {
        let mut since = 0;
        for chunk in chunks {
            since += chunk.range.len();
            if since >= CHUNK {
                since = 0;
                if interrupted() {
                    return Err(Error::interrupted());
                }
            }
            let text = &texts[chunk.text][chunk.range.clone()];
            encode(encoder, text, scratch, &mut ragged.ids, interrupted)?;
            ragged.ids.extend(chunk.special.map(T::from_u32));
            ragged.ends.resize(chunk.text + 1, 0);
            ragged.ends[chunk.text] = ragged.ids.len();
        }
        Ok(ragged)
    })
}

/// Appends the ids of a chunk. One that could not be cut may be long.
fn encode<T: Id>(
    encoder: &Encoder,
    text: &[u8],
    scratch: &mut Scratch,
    ids: &mut Vec<T>,
    interrupted: &dyn Fn() -> bool,
) -> Result<()> {
    let mut at = 0;
    while at < text.len() {
        at = encoder.encode_some(text, at, 4 * CHUNK, scratch, ids)?;
        if at < text.len() && interrupted() {
            return Err(Error::interrupted());
        }
    }
    Ok(())
}

/// At least one chunk, so that every text has its result.
fn cut(
    encoder: &Encoder,
    number: usize,
    text: &[u8],
    chosen: &Chosen<'_>,
    chunk: usize,
    chunks: &mut Vec<Chunk>,
) -> Result<()> {
    let origin = text.as_ptr() as usize;
    chosen.split(text, |stretch, special| {
        let first = stretch.as_ptr() as usize - origin;
        let mut at = 0;
        let (mut low, mut high) = (chunk / 2, chunk);
        while stretch.len() - at > high + high / 4 {
            if let Some(place) = encoder.vocab.pattern.safe_cut(&stretch[at..], low, high) {
                chunks.push(Chunk { text: number, range: first + at..first + at + place, special: None });
                at += place;
                (low, high) = (chunk / 2, chunk);
            } else {
                (low, high) = (high, 2 * high);
            }
        }
        chunks.push(Chunk { text: number, range: first + at..first + stretch.len(), special });
        Ok(())
    })
}

/// As many as asked for, or as there are cores, but no more than have enough to do.
fn useful_threads(bytes: usize, threads: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if threads == 0 { cores() } else { threads };
    threads.min(bytes / WORTH_A_THREAD + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_take_their_own_chunks_and_help_those_that_fall_behind() {
        let turns = Turns::new(20, 2, 6);
        let (mut left, mut right) = (0, 1);
        let taken: Vec<Option<usize>> = (0..4).flat_map(|_| [turns.take(&mut left), turns.take(&mut right)]).collect();
        assert_eq!(taken, (0..8).map(Some).collect::<Vec<_>>());
        // the left one sleeps: the right one goes on with its own, then with what is first
        let taken: Vec<usize> = std::iter::from_fn(|| turns.take(&mut right)).collect();
        assert_eq!(taken, [9, 11, 13, 8, 15, 10, 17, 12, 19, 14, 16, 18]);
        assert_eq!(turns.take(&mut left), None);
    }

    #[test]
    fn every_chunk_is_taken_once() {
        let turns = Turns::new(5000, 3, 40);
        let counts: Vec<AtomicUsize> = std::iter::repeat_with(AtomicUsize::default).take(5000).collect();
        std::thread::scope(|scope| {
            for mut own in 0..3 {
                let (turns, counts) = (&turns, &counts);
                scope.spawn(move || {
                    while let Some(chunk) = turns.take(&mut own) {
                        counts[chunk].fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }
}

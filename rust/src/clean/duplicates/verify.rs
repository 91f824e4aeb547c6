//! Whether pairs are what their sketches say: their texts are read again, and their sets compared.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Mutex;

use super::settings::Settings;
use super::shingles::Comparer;
use super::sketcher::Sketcher;
use crate::clean::words::Cut;
use crate::error::Result;
use crate::threads;

/// The texts of documents by their numbers, asked for from several threads.
pub trait Texts: Sync {
    fn read(&self, document: u32, visit: &mut dyn FnMut(&str)) -> Result<()>;
}

/// Documents that are sets of hashes themselves.
pub trait Sets: Sync {
    /// Fills `set`, in any order; what comes again counts once.
    fn read(&self, document: u32, set: &mut Vec<u64>) -> Result<()>;
}

/// Where sets come from.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    Texts(&'a dyn Texts),
    Sets(&'a dyn Sets),
}

/// Pairs that a thread takes at a time: they share their first document mostly.
const TAKEN: usize = 256;

pub(super) struct Verifier<'a> {
    pub place: Place<'a>,
    pub settings: &'a Settings,
    pub threshold: f64,
    /// Bytes of sets that all threads keep.
    pub memory: usize,
    pub threads: usize,
}

impl Verifier<'_> {
    /// Whether each pair's Jaccard reaches the threshold. `cut` says how a document was cut.
    pub fn verify(&self, pairs: &[(u32, u32)], cut: &(dyn Fn(u32) -> Cut + Sync)) -> Result<Vec<bool>> {
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(vec![false; pairs.len()]));
        let work = || -> Result<()> {
            let mut known = Known::new(self, cut);
            loop {
                let at = next.fetch_add(TAKEN, Ordering::Relaxed);
                let Some(taken) = pairs.get(at..(at + TAKEN).min(pairs.len())).filter(|taken| !taken.is_empty()) else {
                    return Ok(());
                };
                let are = taken.iter().map(|(one, other)| known.agree(*one, *other)).collect::<Result<Vec<bool>>>()?;
                answers.lock().expect("no thread panics")[at..at + are.len()].copy_from_slice(&are);
            }
        };
        let more = self.threads.min(pairs.len().div_ceil(TAKEN)).saturating_sub(1);
        std::thread::scope(|scope| {
            let running = (0..more).map(|_| threads::spawn(scope, work)).collect::<Result<Vec<_>>>()?;
            let mut done = work();
            for thread in running {
                done = done.and(thread.join().expect("no thread panics"));
            }
            done
        })?;
        Ok(answers.into_inner().expect("no thread panics"))
    }
}

/// Sets that a thread has read, as many as it may keep.
struct Known<'a> {
    verifier: &'a Verifier<'a>,
    cut: &'a dyn Fn(u32) -> Cut,
    sketcher: Sketcher,
    comparer: Comparer,
    sets: HashMap<u32, Rc<[u64]>>,
    bytes: usize,
    set: Vec<u64>,
}

impl<'a> Known<'a> {
    fn new(verifier: &'a Verifier<'a>, cut: &'a (dyn Fn(u32) -> Cut + Sync)) -> Self {
        let sketcher = Sketcher::new(verifier.settings);
        let (sets, comparer) = (HashMap::new(), Comparer::default());
        Self { verifier, cut, sketcher, comparer, sets, bytes: 0, set: Vec::new() }
    }

    fn agree(&mut self, one: u32, other: u32) -> Result<bool> {
        let (one, other) = (self.get(one)?, self.get(other)?);
        Ok(self.comparer.jaccard(&one, &other) >= self.verifier.threshold)
    }

    fn get(&mut self, document: u32) -> Result<Rc<[u64]>> {
        if let Some(set) = self.sets.get(&document) {
            return Ok(Rc::clone(set));
        }
        self.read(document)?;
        if self.bytes > self.verifier.memory / self.verifier.threads {
            self.sets.clear();
            self.bytes = 0;
        }
        let set: Rc<[u64]> = self.set.as_slice().into();
        self.bytes += 64 + size_of_val(&*set);
        self.sets.insert(document, Rc::clone(&set));
        Ok(set)
    }

    fn read(&mut self, document: u32) -> Result<()> {
        match self.verifier.place {
            Place::Sets(sets) => sets.read(document, &mut self.set),
            Place::Texts(texts) => {
                let cut = (self.cut)(document);
                texts.read(document, &mut |text| self.sketcher.list(text, cut, &mut self.set))
            }
        }
    }
}

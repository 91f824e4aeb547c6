//! Ids of many texts one after another in one array, whichever thread encodes which text: a result of megabytes costs
//! its page faults once, on huge pages, and no copy at the end.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError, RwLock};

use crate::id::Id;
use crate::memory::spare::spare_or_new;

/// The ids of each text.
#[derive(Debug, PartialEq)]
pub struct Ragged<T> {
    pub ids: Vec<T>,
    /// Where the ids of each text end.
    pub ends: Vec<usize>,
}

impl<T> Ragged<T> {
    pub fn texts(&self) -> impl Iterator<Item = &[T]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(&start, &end)| &self.ids[start..end])
    }
}

/// An array that threads fill in any order: each chunk gets its place once all before it have theirs.
pub struct Gather<T> {
    turn: Mutex<Turn<T>>,
    ids: RwLock<Place<T>>,
}

struct Turn<T> {
    /// Where each chunk ends, as far as that is known.
    ends: Vec<usize>,
    /// Ids for which there is room.
    capacity: usize,
    waiting: BTreeMap<usize, Vec<T>>,
    spare: Vec<Vec<T>>,
}

struct Place<T> {
    ids: Vec<MaybeUninit<T>>,
    /// The beginning of `ids`.
    start: *mut MaybeUninit<T>,
}

// SAFETY: the pointer is into the vector beside it, which goes where it goes
unsafe impl<T: Send> Send for Place<T> {}
// SAFETY: threads that share it write through the pointer in ranges that no two of them have
unsafe impl<T: Send> Sync for Place<T> {}

impl<T: Id> Gather<T> {
    /// `expected`: about how many ids there will be.
    pub fn new(expected: usize) -> Self {
        let mut ids = spare_or_new::<T>(expected);
        let (start, capacity) = (ids.as_mut_ptr().cast(), ids.capacity());
        std::mem::forget(ids);
        // SAFETY: the same vector, in which nothing counts as written
        let ids = unsafe { Vec::from_raw_parts(start, 0, capacity) };
        let turn = Turn { ends: Vec::new(), capacity, waiting: BTreeMap::new(), spare: Vec::new() };
        Self { turn: Mutex::new(turn), ids: RwLock::new(Place { ids, start }) }
    }

    /// Takes the ids of chunk `number`, and leaves an empty vector to use for the next.
    pub fn put(&self, number: usize, ids: &mut Vec<T>) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = turn.spare.pop().unwrap_or_default();
        turn.waiting.insert(number, std::mem::replace(ids, spare));
        let mut ready = Vec::new();
        loop {
            let next = turn.ends.len();
            let Some(ids) = turn.waiting.remove(&next) else { break };
            let begin = turn.ends.last().copied().unwrap_or(0);
            turn.ends.push(begin + ids.len());
            ready.push((begin, ids));
        }
        let Some(end) = turn.ends.last().copied().filter(|_| !ready.is_empty()) else { return };
        if end > turn.capacity {
            let mut place = self.ids.write().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: so many were allocated, and what is not initialised says so
            unsafe { place.ids.set_len(turn.capacity) };
            place.ids.reserve(end - turn.capacity);
            turn.capacity = place.ids.capacity();
            place.start = place.ids.as_mut_ptr();
        }
        drop(turn);
        let place = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        for (begin, ids) in &ready {
            // SAFETY: the range is this chunk's alone, and lies in the vector, which is not moved while it is read
            unsafe { place.start.add(*begin).copy_from_nonoverlapping(ids.as_ptr().cast(), ids.len()) };
        }
        drop(place);
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.spare.extend(ready.into_iter().map(|(_, mut ids)| {
            ids.clear();
            ids
        }));
    }

    /// All ids, and where each chunk ends; all of them were put.
    pub fn finish(self) -> (Vec<T>, Vec<usize>) {
        let turn = self.turn.into_inner().unwrap_or_else(PoisonError::into_inner);
        let place = self.ids.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut ids = std::mem::ManuallyDrop::new(place.ids);
        let count = turn.ends.last().copied().unwrap_or(0);
        // SAFETY: the same vector, of which so much was written
        let ids = unsafe { Vec::from_raw_parts(ids.as_mut_ptr().cast(), count, ids.capacity()) };
        (ids, turn.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_out_in_order_whoever_brings_them_when() {
        let chunk = |number: usize| (0..number % 7).map(|at| (100 * number + at) as u16).collect::<Vec<_>>();
        // room for one id: it grows while others write
        let gather = Gather::<u16>::new(1);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let gather = &gather;
                scope.spawn(move || {
                    for number in (0..30).rev().filter(|number| number % 3 == thread) {
                        gather.put(number, &mut chunk(number));
                    }
                });
            }
        });
        let (ids, ends) = gather.finish();
        let ragged = Ragged { ids, ends };
        assert!(ragged.texts().eq((0..30).map(chunk).collect::<Vec<_>>().iter().map(Vec::as_slice)));
    }
}

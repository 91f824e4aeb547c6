//! The merge loop: the most frequent pair, of equally frequent ones that with the lowest ids, until there are enough.
//!
//! The count of a pair never rises once the pair exists: only the newest token makes new pairs. So pairs that came up
//! with less than a threshold cannot be the most frequent while that one reaches it, and neither their counts nor
//! their occurrences are kept. Once the most frequent falls below, everything is counted again from the words as
//! they then are, with a lower threshold. The same is done where the lists of occurrences outgrow their room, with a
//! threshold so high that they fit. The result does not depend on how thresholds are chosen.

use std::collections::binary_heap::PeekMut;
use std::collections::BinaryHeap;

use super::crew::{each_of, Crew, Sharing};
use super::keep::{Keep, Tokens};
use super::occurrences::{WordShare, LEFT, RIGHT};
use super::pair_counts::{pair, PairCounts};
use super::{recount, Merge, Settings};
use crate::id::Id;

/// A pair in the heap: greatest count first, then lowest ids. Counts there may be too high, never too low.
fn candidate(key: u64, count: u64) -> (u64, u64) {
    (count, !key)
}

/// What is left to do after a call.
#[derive(PartialEq, Eq, Debug, Clone, Copy)]
pub(super) enum State {
    More,
    Done,
    /// No pair is left that occurs often enough.
    Exhausted,
}

pub(super) struct Merger<'a, S> {
    crew: &'a Crew,
    sharing: Sharing,
    shares: Vec<WordShare<S>>,
    tokens: Tokens,
    pairs: PairCounts,
    heap: BinaryHeap<(u64, u64)>,
    keep: Keep,
    lowest: u64,
    /// Occurrences that may be listed before those of merged pairs are cleared away.
    room: usize,
    /// Threads that count pairs roughly at the same time.
    sketches: usize,
    merges: Vec<Merge>,
    /// How often each pair occurred that was merged here: the last so many of `merges`.
    counts: Vec<u64>,
}

impl<'a, S: Id> Merger<'a, S> {
    /// One share for each thread of the crew.
    pub fn new(shares: Vec<WordShare<S>>, settings: &Settings, room: usize, crew: &'a Crew) -> Self {
        Self {
            crew,
            sharing: Sharing::new(),
            shares,
            tokens: Tokens {
                bytes: vec![1; 256],
                slots: vec![1; 256],
                longest: settings.max_token_length.map_or(u64::MAX, |length| length as u64),
            },
            pairs: PairCounts::new(),
            heap: BinaryHeap::new(),
            keep: Keep::AtLeast(0),
            lowest: settings.min_frequency.max(1),
            room,
            sketches: if settings.memory.is_none() { recount::SKETCHES } else { 1 },
            merges: Vec::new(),
            counts: Vec::new(),
        }
    }

    pub fn into_merges(self) -> Vec<Merge> {
        self.merges
    }

    /// Occurrences that were merged.
    pub fn operations(&self) -> u64 {
        self.shares.iter().map(|share| share.merged).sum()
    }

    pub fn merges(&self) -> &[Merge] {
        &self.merges
    }

    /// Applies merges that were made before, in their order; then counts for more, up to `goal`.
    pub fn start(&mut self, before: &[Merge], goal: usize) {
        if !before.is_empty() {
            self.keep = Keep::These(before.iter().map(|&(left, right)| pair(left, right)).collect());
            self.recount();
            for &merge in before {
                let index = self.pairs.get(pair(merge.0, merge.1)).map(|entry| entry.index);
                self.step(merge, index);
            }
        }
        let total: u64 = self.shares.iter().map(WordShare::weight).sum();
        // English prose ends its first 32,000 merges at a 25th of this, other text lower; a guess too high costs one
        // more count, one too low the keeping of pairs that are never merged
        let worth = total / (goal.max(1) as u64 * GUESS);
        self.keep = Keep::AtLeast(worth.max(self.lowest));
        self.recount();
    }

    /// Merges on until there are `goal` merges, but at most `steps` in this call.
    pub fn run(&mut self, goal: usize, steps: usize) -> State {
        let pause = goal.min(self.merges.len() + steps);
        while self.merges.len() < pause {
            if let Some((key, index, count)) = self.most_frequent() {
                self.counts.push(count);
                self.step(((key >> 32) as u32, key as u32), Some(index));
                if self.shares.iter().map(WordShare::listed).sum::<usize>() > self.room {
                    self.recount();
                }
                continue;
            }
            let worth = self.keep.worth();
            if worth == self.lowest {
                return State::Exhausted;
            }
            self.keep = Keep::AtLeast(lower(worth, &self.counts, self.merges.len(), goal).max(self.lowest));
            self.recount();
        }
        if self.merges.len() < goal {
            State::More
        } else {
            State::Done
        }
    }

    fn recount(&mut self) {
        self.heap.clear();
        self.pairs = PairCounts::new(); // the old ones' memory goes before the new ones take theirs
                                        // the other half is for the lists of pairs that merging makes
        let room = self.room / 2;
        self.pairs =
            recount::recount(self.crew, &mut self.shares, &mut self.tokens, &mut self.keep, room, self.sketches);
        if let Keep::AtLeast(_) = self.keep {
            self.heap.extend(self.pairs.iter().map(|(key, entry)| candidate(key, entry.count)));
        }
    }

    fn most_frequent(&mut self) -> Option<(u64, u32, u64)> {
        loop {
            let mut top = self.heap.peek_mut()?;
            let (count, key) = (top.0, !top.1);
            match self.pairs.get(key) {
                Some(entry) if entry.count == count => {
                    PeekMut::pop(top);
                    return Some((key, entry.index, count));
                }
                Some(entry) if entry.count >= self.keep.worth() => top.0 = entry.count,
                _ => {
                    PeekMut::pop(top);
                }
            }
        }
    }

    /// Merges one pair everywhere and counts the pairs that come of it.
    fn step(&mut self, (left, right): Merge, index: Option<u32>) {
        let new = self.tokens.push((left, right));
        self.merges.push((left, right));
        let Some(index) = index else { return };
        let occurrences: usize = self.shares.iter().map(|share| share.occurrences(index)).sum();
        let together = self.shares.len() > 1 && occurrences >= TOGETHER && self.sharing.ask();
        let slots = &self.tokens.slots;
        if together {
            let wait = each_of(self.crew, &mut self.shares, |_, share| share.merge((left, right), new, index, slots));
            self.sharing.waited(wait);
        } else {
            for share in &mut self.shares {
                share.merge((left, right), new, index, slots);
            }
        }
        self.pairs.clear(pair(left, right));
        self.neighbours::<LEFT>((left, right), new);
        self.neighbours::<RIGHT>((left, right), new);
        self.twins(pair(right, left), pair(new, new));
        if together {
            let wait = each_of(self.crew, &mut self.shares, |_, share| share.settle());
            self.sharing.waited(wait);
        } else {
            self.shares.iter_mut().for_each(WordShare::settle);
        }
        if self.shares.iter().any(|share| share.full) {
            self.recount();
        }
    }

    /// The counts of the pairs on one side: what the old token lost there, the new one has.
    fn neighbours<const SIDE: usize>(&mut self, (left, right): Merge, new: u32) {
        let old_pair = |id| if SIDE == LEFT { pair(id, left) } else { pair(right, id) };
        let new_pair = |id| if SIDE == LEFT { pair(id, new) } else { pair(new, id) };
        for share in &self.shares {
            for &id in &share.sides[SIDE].ids {
                self.pairs.prefetch(old_pair(id));
            }
        }
        for first in 0..self.shares.len() {
            for number in 0..self.shares[first].sides[SIDE].ids.len() {
                let id = self.shares[first].sides[SIDE].ids[number];
                let mut weight = 0;
                let mut seen = false;
                for (place, share) in self.shares.iter().enumerate() {
                    let neighbour = share.sides[SIDE].get(id);
                    seen |= place < first && neighbour.count > 0;
                    weight += neighbour.weight;
                }
                if seen {
                    continue;
                }
                self.pairs.lower(old_pair(id), weight);
                if let Some(index) = self.admit(new_pair(id), weight) {
                    for share in &mut self.shares {
                        share.want(SIDE, id, index);
                    }
                }
            }
        }
    }

    fn twins(&mut self, old: u64, new: u64) {
        let weight = self.shares.iter().map(|share| share.twins.weight).sum();
        if weight > 0 {
            self.pairs.lower(old, weight);
            if let Some(index) = self.admit(new, weight) {
                for share in &mut self.shares {
                    share.want_twins(index);
                }
            }
        }
    }

    #[inline(always)]
    fn admit(&mut self, key: u64, count: u64) -> Option<u32> {
        if !self.keep.wants(key, count) || !self.tokens.may_merge(key) {
            return None;
        }
        self.heap.push(candidate(key, count));
        Some(self.pairs.add(key, count, self.keep.worth()))
    }
}

/// A threshold below `worth` for the merges up to `goal`, where `made` were made, the last of them with these counts.
///
/// Counts fall as a power of the number of merges, and the power of the latter half says where the last will be. A
/// dictionary of 40 MB lacks the last 2,000 of 32,000 merges at 22, and the last occurs 19 times: listing the 155,000
/// pairs that an eighth of 22 admits took half of its training.
fn lower(worth: u64, counts: &[u64], made: usize, goal: usize) -> u64 {
    let least = worth / LOWER;
    let half = counts.len() / 2;
    if half < ENOUGH {
        return least;
    }
    let before = (made - counts.len() + half) as f64;
    let power = (counts[half] as f64 / worth as f64).ln() / (made as f64 / before).ln();
    let last = worth as f64 * (made as f64 / goal as f64).powf(power);
    ((last * MARGIN) as u64).clamp(least, worth - 1)
}

/// See [`Merger::start`].
const GUESS: u64 = 64;
/// By how much the threshold is lowered at most.
const LOWER: u64 = 8;
/// Merges in each half of those that say how counts fall.
const ENOUGH: usize = if cfg!(test) { 4 } else { 64 };
/// Of the count foreseen for the last merge: one foreseen too high costs one more count of all pairs.
const MARGIN: f64 = 0.7;
/// Occurrences from which on the threads share a merge: some 4 µs of work, against 0.3 µs for two rounds of the crew.
const TOGETHER: usize = if cfg!(test) { 20 } else { 128 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_lowered_to_just_below_the_last_merge_where_counts_fall_as_a_power() {
        for power in [0.8, 1.2, 1.7] {
            let count = |made: usize| (1e9 * (made as f64 + 1.0).powf(-power)) as u64;
            let counts: Vec<u64> = (0..8_000).map(count).collect();
            // the merges before these have no counts, as those of an interrupted training have not
            for first in [0, 1_000] {
                for goal in [8_001, 10_000, 16_000] {
                    let (last, found) = (count(goal), lower(count(8_000), &counts[first..], 8_000, goal));
                    assert!(found * 10 > last * 6 && found * 10 < last * 8, "{found} for {last}");
                }
            }
        }
    }

    #[test]
    fn the_threshold_is_lowered_by_one_at_least_and_to_an_eighth_at_most() {
        assert_eq!(lower(80, &[], 0, 1_000), 10);
        assert_eq!(lower(1, &[1; 100], 100, 1_000), 0);
        assert_eq!(lower(2, &[2; 100], 100, 101), 1);
        // so steep that the last merge would be beyond an eighth
        let steep: Vec<u64> = (0..100).map(|made| 80 << ((100 - made) / 4)).collect();
        assert_eq!(lower(80, &steep, 100, 1_000), 10);
        for worth in 2..50 {
            let flat = lower(worth, &[worth; 100], 100, 1_000);
            assert!(flat < worth && flat >= worth / 8, "{flat} for {worth}");
        }
    }
}

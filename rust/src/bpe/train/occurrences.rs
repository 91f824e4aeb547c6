//! A share of the words, and where in it the pairs occur.
//!
//! All words lie in one array of symbols, a boundary between two. A token holds as many slots as its two halves
//! held, its id in the first and in the last of them, so that its neighbours are one slot away on either side and no
//! links are stored. Words lie by falling count, so that the count of a word follows from where it lies.
//! Occurrences are visited in order of address, and lists come out sorted because the list they are made from was.

use std::ops::Range;

use super::crew::Shares;
use crate::bpe::alphabet::ORDER;
use crate::id::Id;
use crate::memory::prefetch::prefetch_item;

/// Slots up to `end`, all of words that occur `weight` times.
#[derive(Clone, Copy)]
struct Run {
    end: u32,
    weight: u64,
}

/// Slots per entry of the table that finds the run of a slot. A word takes about eight.
const COARSE: u32 = 64;

/// Occurrences of one pair, in the arena.
#[derive(Clone, Copy, Default)]
pub(super) struct List {
    start: u32,
    length: u32,
}

/// What a merge did beside one neighbouring token.
#[derive(Clone, Copy, Default)]
pub(super) struct Neighbour {
    pub weight: u64,
    pub count: u32,
    /// One more than where the next occurrence of the new pair goes; 0 if that pair is not listed.
    cursor: u32,
}

pub(super) const LEFT: usize = 0;
pub(super) const RIGHT: usize = 1;

/// The neighbours on one side of the merged pair.
pub(super) struct Side {
    by_id: Vec<Neighbour>,
    /// The ids of those that occurred, in order of occurrence.
    pub ids: Vec<u32>,
    /// Neighbour and position of each occurrence.
    records: Vec<(u32, u32)>,
}

impl Side {
    fn new(ids: usize) -> Self {
        Self { by_id: vec![Neighbour::default(); ids], ids: Vec::new(), records: Vec::new() }
    }

    #[inline(always)]
    fn note(&mut self, id: u32, position: u32, weight: u64) {
        let neighbour = &mut self.by_id[id as usize];
        if neighbour.count == 0 {
            self.ids.push(id);
        }
        neighbour.weight += weight;
        neighbour.count += 1;
        self.records.push((id, position));
    }

    pub fn get(&self, id: u32) -> Neighbour {
        self.by_id[id as usize]
    }
}

/// What is laid out in a share.
pub(super) struct Layout {
    /// Count, and slots that the words of this count take, by falling count.
    pub runs: Vec<(u64, u64)>,
}

impl Layout {
    /// Slots in all, with the boundary before the first word.
    pub fn slots(&self) -> u64 {
        1 + self.runs.iter().map(|&(_, slots)| slots).sum::<u64>()
    }
}

pub(super) struct WordShare<S> {
    slots: Vec<S>,
    runs: Vec<Run>,
    coarse: Vec<u32>,
    arena: Vec<u32>,
    lists: Vec<List>,
    /// The tokens before and after what was merged.
    pub sides: [Side; 2],
    /// Occurrences of the new token twice in a row.
    pub twins: Neighbour,
    twin_positions: Vec<u32>,
    /// Occurrences that were merged.
    pub merged: u64,
    /// Occurrences that lists may hold: their places in the arena are 32 bits.
    pub most: usize,
    /// A list found no room: all must be made anew.
    pub full: bool,
    boundary: S,
    dead: S,
}

/// The slots of a share that is being laid out.
pub(super) struct Places<S> {
    length: usize,
    slots: Shares<S>,
    boundary: S,
}

impl<S: Id> Places<S> {
    /// Writes a word at `position`; returns where the next one goes.
    ///
    /// # Safety
    /// No other thread writes to its slots.
    pub unsafe fn put(&self, position: u32, word: &[u8]) -> u32 {
        let start = position as usize;
        // words that come from a file might not be those that were counted
        assert!(start + word.len() < self.length, "a word lies beyond its share");
        // SAFETY: the slots are there, and this thread's alone by the contract above.
        let write = |at: usize, slot: S| unsafe { *self.slots.take(at) = slot };
        for (at, &byte) in (start..).zip(word) {
            write(at, S::from_u32(u32::from(ORDER[byte as usize])));
        }
        write(start + word.len(), self.boundary);
        position + word.len() as u32 + 1
    }
}

/// How far ahead of its use a slot is asked for.
const AHEAD: usize = 16;

impl<S: Id> WordShare<S> {
    /// `ids` is one more than the largest id there will be.
    pub fn new(layout: &Layout, ids: u32) -> Self {
        let boundary = S::from_u32(ids);
        // zeros take no memory until words are put there, and those come from a table that shrinks meanwhile
        let mut slots = vec![S::from_u32(0); layout.slots() as usize];
        slots[0] = boundary;
        let mut end = 1;
        let runs = layout
            .runs
            .iter()
            .map(|&(weight, slots)| {
                end += slots as u32;
                Run { end, weight }
            })
            .collect();
        Self {
            slots,
            runs,
            coarse: Vec::new(),
            arena: Vec::new(),
            lists: Vec::new(),
            sides: [Side::new(ids as usize + 1), Side::new(ids as usize + 1)],
            twins: Neighbour::default(),
            twin_positions: Vec::new(),
            merged: 0,
            most: u32::MAX as usize - 1,
            full: false,
            boundary,
            dead: S::from_u32(ids + 1),
        }
    }

    /// The slots, for threads that put words into them together.
    pub fn places(&mut self) -> Places<S> {
        Places { length: self.slots.len(), slots: Shares::new(&mut self.slots), boundary: self.boundary }
    }

    /// Tokens of all occurrences of all words, while there is one slot a token.
    pub fn weight(&self) -> u64 {
        let mut start = 1;
        self.runs
            .iter()
            .map(|run| {
                let slots = run.end - start;
                start = run.end;
                u64::from(slots) * run.weight
            })
            .sum()
    }

    /// One slot a token again; words of one token, which hold no pair, go.
    pub fn compact(&mut self, width: &[u32]) {
        let mut write = 1;
        let mut read = 1;
        for run in &mut self.runs {
            while read < run.end as usize {
                let start = write;
                while self.slots[read] != self.boundary {
                    let token = self.slots[read];
                    self.slots[write] = token;
                    write += 1;
                    read += width[token.to_u32() as usize] as usize;
                }
                read += 1;
                if write - start < 2 {
                    write = start;
                } else {
                    self.slots[write] = self.boundary;
                    write += 1;
                }
            }
            run.end = write as u32;
        }
        self.slots.truncate(write);
        self.slots.shrink_to_fit();
        self.runs.dedup_by_key(|run| run.end);
        if self.runs.first().is_some_and(|run| run.end == 1) {
            self.runs.remove(0);
        }
        self.coarse.clear();
        let mut run = 0;
        for slot in (0..write as u32).step_by(COARSE as usize) {
            while run + 1 < self.runs.len() && self.runs[run].end <= slot {
                run += 1;
            }
            self.coarse.push(run as u32);
        }
    }

    /// The slots of one of `parts` stretches of whole words.
    pub fn stretch(&self, part: usize, parts: usize) -> Range<u32> {
        let bound = |part: usize| {
            let at = 1 + (self.slots.len() - 1) * part / parts;
            let boundary = self.slots[at - 1..].iter().position(|&slot| slot == self.boundary);
            (at + boundary.expect("every word ends")) as u32
        };
        bound(part)..bound(part + 1)
    }

    /// Every pair of neighbours in a stretch, its position and its weight; one slot a token.
    pub fn each_pair(&self, stretch: Range<u32>, mut visit: impl FnMut(u32, u32, u32, u64)) {
        let mut at = stretch.start;
        let first = self.runs.partition_point(|run| run.end <= at);
        for run in &self.runs[first..] {
            let end = run.end.min(stretch.end);
            while at + 1 < end {
                let (left, right) = (self.slots[at as usize], self.slots[at as usize + 1]);
                if right == self.boundary {
                    at += 2;
                } else {
                    visit(left.to_u32(), right.to_u32(), at, run.weight);
                    at += 1;
                }
            }
            if end == stretch.end {
                return;
            }
            at = end;
        }
    }

    /// Takes lists of these lengths, by index, where there are none, and the arena in which they lie one after another.
    pub fn take_lists(&mut self, lengths: impl Iterator<Item = u32>, arena: Vec<u32>) {
        let mut start = 0;
        self.lists.extend(lengths.map(|length| {
            let list = List { start, length };
            start += length;
            list
        }));
        self.arena = arena;
    }

    /// Occurrences listed, those of merged pairs included.
    pub fn listed(&self) -> usize {
        self.arena.len()
    }

    /// Forgets all lists, whose room what comes next may need.
    pub fn forget_lists(&mut self) {
        self.arena = Vec::new();
        self.lists = Vec::new();
        self.full = false;
    }

    /// The length of a list: merging has as much to look at.
    pub fn occurrences(&self, index: u32) -> usize {
        self.lists.get(index as usize).map_or(0, |list| list.length as usize)
    }

    /// Merges the pair wherever its list says, and notes its neighbours.
    pub fn merge(&mut self, (left, right): (u32, u32), new: u32, index: u32, width: &[u32]) {
        let Some(&list) = self.lists.get(index as usize) else { return };
        let (a, b, x) = (S::from_u32(left), S::from_u32(right), S::from_u32(new));
        let (width_a, width_b) = (width[left as usize], width[right as usize]);
        let slots = &mut self.slots[..];
        let sides = &mut self.sides;
        let positions = &self.arena[list.start as usize..(list.start + list.length) as usize];
        let mut run = 0;
        // the neighbour on the right waits until the next occurrence is known not to be it
        let mut waiting: Option<(u32, u32, u64)> = None;
        let mut end_of_last = 0;
        for (number, &position) in positions.iter().enumerate() {
            if let Some(&later) = positions.get(number + AHEAD) {
                prefetch_item(slots, later as usize);
            }
            let (start, middle) = (position as usize, (position + width_a) as usize);
            if slots[start] != a || slots[middle] != b {
                continue;
            }
            let end = middle + width_b as usize;
            let before = slots[start - 1];
            let after = slots[end];
            self.merged += 1;
            slots[middle] = self.dead;
            slots[start] = x;
            slots[end - 1] = x;

            run = run.max(self.coarse[(position / COARSE) as usize] as usize);
            while self.runs[run].end <= position {
                run += 1;
            }
            let weight = self.runs[run].weight;
            if let Some((id, at, weight)) = waiting.take() {
                if end_of_last == start {
                    self.twins.weight += weight;
                    self.twins.count += 1;
                    self.twin_positions.push(at);
                } else {
                    sides[RIGHT].note(id, at, weight);
                }
            }
            // a token that was just made is the one before, and has noted this one
            if before != x && before != self.boundary {
                sides[LEFT].note(before.to_u32(), position - width[before.to_u32() as usize], weight);
            }
            if after != self.boundary {
                waiting = Some((after.to_u32(), position, weight));
                end_of_last = end;
            }
        }
        if let Some((id, at, weight)) = waiting {
            sides[RIGHT].note(id, at, weight);
        }
    }

    /// Opens a list for the new pair with this neighbour, or with the new token itself.
    pub fn want(&mut self, side: usize, id: u32, index: u32) {
        self.full |=
            !open(&mut self.arena, self.most, &mut self.lists, &mut self.sides[side].by_id[id as usize], index);
    }

    pub fn want_twins(&mut self, index: u32) {
        if !open(&mut self.arena, self.most, &mut self.lists, &mut self.twins, index) {
            self.full = true;
            return;
        }
        let list = self.lists[index as usize];
        self.arena[list.start as usize..(list.start + list.length) as usize].copy_from_slice(&self.twin_positions);
    }

    /// Fills the lists that were opened and forgets the neighbours.
    pub fn settle(&mut self) {
        for side in &mut self.sides {
            for &(id, position) in &side.records {
                let neighbour = &mut side.by_id[id as usize];
                if neighbour.cursor != 0 {
                    self.arena[neighbour.cursor as usize - 1] = position;
                    neighbour.cursor += 1;
                }
            }
            for id in side.ids.drain(..) {
                side.by_id[id as usize] = Neighbour::default();
            }
            side.records.clear();
        }
        self.twins = Neighbour::default();
        self.twin_positions.clear();
    }
}

/// False where the list does not fit: its occurrences are then listed nowhere.
fn open(arena: &mut Vec<u32>, most: usize, lists: &mut Vec<List>, neighbour: &mut Neighbour, index: u32) -> bool {
    if lists.len() <= index as usize {
        lists.resize(index as usize + 1, List::default());
    }
    if neighbour.count == 0 {
        // occurs in other shares only
        return true;
    }
    let start = arena.len();
    if start + neighbour.count as usize > most {
        return false;
    }
    arena.resize(start + neighbour.count as usize, 0);
    lists[index as usize] = List { start: start as u32, length: neighbour.count };
    neighbour.cursor = start as u32 + 1;
    true
}

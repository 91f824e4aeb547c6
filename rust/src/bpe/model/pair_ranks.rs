//! From a pair of tokens to the rank of its merge: eight bytes a slot, eight slots a cache line.

use crate::memory::mapped_slice::{MappedSlice, Plain};
use crate::memory::prefetch::prefetch;

/// Tokens and ranks have 21 bits each: 2,097,151 at most, ten times the largest vocabulary in use.
pub const LIMIT: usize = (1 << 21) - 1;
const EMPTY: u64 = u64::MAX;

/// A table that is being filled.
pub struct PairRanksBuilder {
    slots: Vec<u64>,
    shift: u32,
}

/// Eight slots, the empty ones last.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line([u64; 8]);

// SAFETY: integers without gaps
unsafe impl Plain for Line {}

/// A table that is full. A pair lies in its line or, where that is full, in the next. All slots of a line are compared
/// at once: nothing tells in which of the eight a pair lies, so a branch would be guessed wrong.
pub struct PairRanks {
    /// A power of two, and one that is empty.
    pub lines: MappedSlice<Line>,
    /// Four bits a slot, of which a pair sets one: most look-ups are of pairs that are in no table, and a table that
    /// takes 1 MB for GPT-2 is far away where this is near.
    pub filter: MappedSlice<u64>,
    shift: u32,
}

/// Binary logarithm of the bits of the filter for a slot.
const SPREAD: u32 = 2;
/// What is said of a pair that is in no table.
pub const NONE: u32 = u32::MAX;

#[inline(always)]
fn key(left: u32, right: u32) -> u64 {
    u64::from(left) << 42 | u64::from(right) << 21
}

#[inline(always)]
fn place(key: u64, shift: u32) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

#[inline(always)]
fn find(slots: &[u64], shift: u32, left: u32, right: u32) -> Option<u32> {
    let key = key(left, right);
    let mut at = place(key, shift);
    loop {
        // SAFETY: `place` yields fewer bits than the table has, and the step wraps inside it
        let slot = unsafe { *slots.get_unchecked(at) };
        if slot >> 21 == key >> 21 {
            return Some(slot as u32 & LIMIT as u32);
        }
        if slot == EMPTY {
            return None;
        }
        at = (at + 1) & (slots.len() - 1);
    }
}

impl PairRanksBuilder {
    /// Room for `capacity` pairs, at most half full.
    pub fn with_capacity(capacity: usize) -> Self {
        let bits = (capacity.max(8) * 2).next_power_of_two().trailing_zeros();
        Self { slots: vec![EMPTY; 1 << bits], shift: 64 - bits }
    }

    /// The first rank given to a pair stays.
    pub fn insert(&mut self, left: u32, right: u32, rank: u32) {
        debug_assert!(left.max(right).max(rank) as usize <= LIMIT);
        let key = key(left, right);
        let mut at = place(key, self.shift);
        while self.slots[at] != EMPTY {
            if self.slots[at] >> 21 == key >> 21 {
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = key | u64::from(rank);
    }

    pub fn get(&self, left: u32, right: u32) -> Option<u32> {
        find(&self.slots, self.shift, left, right)
    }
}

impl From<PairRanksBuilder> for PairRanks {
    fn from(pairs: PairRanksBuilder) -> Self {
        let mut filter = vec![0_u64; (pairs.slots.len() << SPREAD) / 64];
        let count = pairs.slots.len() / 8;
        let mut lines = vec![Line([EMPTY; 8]); count + 1];
        for &slot in pairs.slots.iter().filter(|&&slot| slot != EMPTY) {
            let key = slot >> 21 << 21;
            let bit = place(key, pairs.shift - SPREAD);
            filter[bit / 64] |= 1 << (bit % 64);
            let first = place(key, pairs.shift + 3);
            let mut free = (first..count).chain(0..first).flat_map(|line| (0..8).map(move |at| (line, at)));
            let (line, at) = free.find(|&(line, at)| lines[line].0[at] == EMPTY).expect("half of the slots are empty");
            lines[line].0[at] = slot;
        }
        Self { lines: lines.into(), filter: filter.into(), shift: pairs.shift }
    }
}

impl PairRanks {
    /// A table as it was made before; None where its parts are not of one size, or the last line is not empty.
    pub fn of_tables(lines: MappedSlice<Line>, filter: MappedSlice<u64>) -> Option<Self> {
        let slots = lines.len().checked_sub(1)? * 8;
        let empty = lines.last()?.0 == [EMPTY; 8] && lines[..slots / 8].iter().any(|line| line.0[7] == EMPTY);
        let fits = slots.is_power_of_two() && slots >= 16 && empty && filter.len() * 64 == slots << SPREAD;
        fits.then_some(Self { lines, filter, shift: 64 - slots.trailing_zeros() })
    }

    /// The line in which a pair lies if it lies anywhere and `wanted`, else the empty one; it is fetched.
    #[inline(always)]
    pub fn line(&self, left: u32, right: u32, wanted: bool) -> usize {
        let key = key(left, right);
        let bit = place(key, self.shift - SPREAD);
        // SAFETY: `place` yields fewer bits than the filter has
        let may = unsafe { self.filter.get_unchecked(bit / 64) >> (bit % 64) } & u64::from(wanted);
        let (line, empty) = (place(key, self.shift + 3), self.lines.len() - 1);
        let line = empty ^ ((empty ^ line) & (may as usize & 1).wrapping_neg());
        prefetch(self.lines.as_ptr().wrapping_add(line));
        line
    }

    /// The rank of a pair whose [`PairRanks::line`] that is, `NONE` where it has none.
    ///
    /// # Safety
    /// The line comes from this table.
    #[inline(always)]
    pub unsafe fn rank_in(&self, line: usize, left: u32, right: u32) -> u32 {
        const FOUND: u64 = 1 << 21;
        let wanted = key(left, right) >> 21;
        let mut line = line;
        loop {
            debug_assert!(line < self.lines.len());
            // SAFETY: a line of this table, or the one after it
            let slots = unsafe { &self.lines.get_unchecked(line).0 };
            let mut found = 0;
            for &slot in slots {
                found |= if slot >> 21 == wanted { slot & LIMIT as u64 | FOUND } else { 0 };
            }
            if found == 0 && slots[7] != EMPTY {
                line = (line + 1) & (self.lines.len() - 2);
                continue;
            }
            return if found == 0 { NONE } else { (found & LIMIT as u64) as u32 };
        }
    }

    #[inline(always)]
    pub fn get(&self, left: u32, right: u32) -> Option<u32> {
        // SAFETY: the line is this table's
        let rank = unsafe { self.rank_in(self.line(left, right, true), left, right) };
        Some(rank).filter(|&rank| rank != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_map() {
        let mut table = PairRanksBuilder::with_capacity(5000);
        let mut map = std::collections::HashMap::new();
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % below) as u32
        };
        for rank in 0..5000 {
            let pair = (draw(LIMIT as u64 + 1), draw(90));
            table.insert(pair.0, pair.1, rank);
            map.entry(pair).or_insert(rank);
        }
        table.insert(LIMIT as u32, LIMIT as u32 - 1, LIMIT as u32);
        let table = PairRanks::from(table);
        assert_eq!(table.get(LIMIT as u32, LIMIT as u32 - 1), Some(LIMIT as u32));
        assert_eq!(table.get(LIMIT as u32, LIMIT as u32), None);
        for (&(left, right), &rank) in &map {
            assert_eq!(table.get(left, right), Some(rank));
            assert_eq!(table.get(right, left), map.get(&(right, left)).copied());
            // SAFETY: the line is this table's
            assert_eq!(unsafe { table.rank_in(table.line(left, right, false), left, right) }, NONE);
        }
        let full = table.lines.iter().filter(|line| line.0[7] != EMPTY).count();
        assert!(full > 5, "{full} lines are full: what overflows was not tried");
    }
}

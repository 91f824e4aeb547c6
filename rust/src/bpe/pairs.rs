//! From a pair of tokens to the rank of its merge: open addressing, eight bytes a slot, eight slots a cache line.

use super::table::Table;

/// Tokens and ranks have 21 bits each: 2,097,151 at most, ten times the largest vocabulary in use.
pub const LIMIT: usize = (1 << 21) - 1;
const EMPTY: u64 = u64::MAX;

/// Asks for a cache line before it is read: a hint, of any address.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint touches no memory
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch(address.cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A table that is being filled.
pub struct Pairs {
    slots: Vec<u64>,
    shift: u32,
}

/// A table that is full.
pub struct PairTable {
    pub slots: Table<u64>,
    /// Four bits a slot, of which a pair sets one: most look-ups are of pairs that are in no table, and a table that
    /// takes 1 MB for GPT-2 is far away where this is near.
    pub filter: Table<u64>,
    shift: u32,
}

/// Binary logarithm of the bits of the filter for a slot.
const SPREAD: u32 = 2;

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

impl Pairs {
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

impl From<Pairs> for PairTable {
    fn from(pairs: Pairs) -> Self {
        let mut filter = vec![0_u64; (pairs.slots.len() << SPREAD) / 64];
        for &slot in pairs.slots.iter().filter(|&&slot| slot != EMPTY) {
            let bit = place(slot >> 21 << 21, pairs.shift - SPREAD);
            filter[bit / 64] |= 1 << (bit % 64);
        }
        Self { slots: pairs.slots.into(), filter: filter.into(), shift: pairs.shift }
    }
}

impl PairTable {
    /// A table as it was made before; None where its parts are not of one size, or no slot is empty.
    pub fn of_tables(slots: Table<u64>, filter: Table<u64>) -> Option<Self> {
        let bits = slots.len().trailing_zeros();
        let fits =
            slots.len().is_power_of_two() && slots.contains(&EMPTY) && filter.len() * 64 == slots.len() << SPREAD;
        fits.then_some(Self { slots, filter, shift: 64 - bits })
    }

    /// Whether the pair may be in the table.
    #[inline(always)]
    pub fn may_hold(&self, left: u32, right: u32) -> bool {
        let bit = place(key(left, right), self.shift - SPREAD);
        // SAFETY: `place` yields fewer bits than the filter has
        unsafe { self.filter.get_unchecked(bit / 64) >> (bit % 64) & 1 == 1 }
    }

    /// Fetches what [`PairTable::find`] will read.
    #[inline(always)]
    pub fn prefetch(&self, left: u32, right: u32) {
        prefetch(self.slots.as_ptr().wrapping_add(place(key(left, right), self.shift)));
    }

    /// The rank of a pair that [`PairTable::may_hold`].
    #[inline(always)]
    pub fn find(&self, left: u32, right: u32) -> Option<u32> {
        find(&self.slots, self.shift, left, right)
    }

    #[inline(always)]
    pub fn get(&self, left: u32, right: u32) -> Option<u32> {
        if self.may_hold(left, right) {
            self.find(left, right)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_map() {
        let mut table = Pairs::with_capacity(5000);
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
        let table = PairTable::from(table);
        assert_eq!(table.get(LIMIT as u32, LIMIT as u32 - 1), Some(LIMIT as u32));
        assert_eq!(table.get(LIMIT as u32, LIMIT as u32), None);
        for (&(left, right), &rank) in &map {
            assert_eq!(table.get(left, right), Some(rank));
            assert_eq!(table.get(right, left), map.get(&(right, left)).copied());
        }
    }
}

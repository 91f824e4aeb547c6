//! From a pair of tokens to the rank of its merge: open addressing, eight bytes a slot, eight slots a cache line.

/// Tokens and ranks have 21 bits each: 2,097,151 at most, ten times the largest vocabulary in use.
pub const LIMIT: usize = (1 << 21) - 1;
const EMPTY: u64 = u64::MAX;

pub struct PairTable {
    slots: Box<[u64]>,
    shift: u32,
}

impl PairTable {
    /// A table for `capacity` pairs, at most half full.
    pub fn with_capacity(capacity: usize) -> Self {
        let bits = (capacity.max(8) * 2).next_power_of_two().trailing_zeros();
        Self { slots: vec![EMPTY; 1 << bits].into_boxed_slice(), shift: 64 - bits }
    }

    #[inline(always)]
    fn key(left: u32, right: u32) -> u64 {
        u64::from(left) << 42 | u64::from(right) << 21
    }

    #[inline(always)]
    fn place(&self, key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    /// The first rank given to a pair stays.
    pub fn insert(&mut self, left: u32, right: u32, rank: u32) {
        debug_assert!(left.max(right).max(rank) as usize <= LIMIT);
        let key = Self::key(left, right);
        let mut at = self.place(key);
        while self.slots[at] != EMPTY {
            if self.slots[at] >> 21 == key >> 21 {
                return;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = key | u64::from(rank);
    }

    #[inline(always)]
    pub fn get(&self, left: u32, right: u32) -> Option<u32> {
        let key = Self::key(left, right);
        let mut at = self.place(key);
        loop {
            // SAFETY: `place` yields fewer bits than the table has, and the step wraps inside it
            let slot = unsafe { *self.slots.get_unchecked(at) };
            if slot >> 21 == key >> 21 {
                return Some(slot as u32 & LIMIT as u32);
            }
            if slot == EMPTY {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_map() {
        let mut table = PairTable::with_capacity(5000);
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
        assert_eq!(table.get(LIMIT as u32, LIMIT as u32 - 1), Some(LIMIT as u32));
        assert_eq!(table.get(LIMIT as u32, LIMIT as u32), None);
        for (&(left, right), &rank) in &map {
            assert_eq!(table.get(left, right), Some(rank));
            assert_eq!(table.get(right, left), map.get(&(right, left)).copied());
        }
    }
}

//! What may come twice, told from what cannot without a branch: a small counter for each of sixteen slots an item.

/// Counters of two bits: 0, 1, or more.
#[derive(Default)]
pub struct Twice {
    counters: Vec<u8>,
    mask: u32,
}

impl Twice {
    /// Empty, with room for `count` items.
    pub fn reset(&mut self, count: usize) {
        let size = (count * 4).next_power_of_two().max(64);
        if self.counters.len() < size {
            self.counters.resize(size, 0);
        }
        self.counters[..size].fill(0);
        self.mask = (size * 4 - 1).min(u32::MAX as usize) as u32;
    }

    /// Counts an item by its hash; returns its slot.
    #[inline(always)]
    pub fn add(&mut self, hash: u64) -> u32 {
        let slot = hash as u32 & self.mask;
        let shift = slot % 4 * 2;
        let counter = &mut self.counters[slot as usize / 4];
        // 0, 1, 3, 3: a bit moves up and stays.
        *counter |= ((*counter >> shift & 1) << 1 | 1) << shift;
        slot
    }

    /// Whether another item may have had the same slot.
    #[inline(always)]
    pub fn again(&self, slot: u32) -> bool {
        self.counters[slot as usize / 4] >> (slot % 4 * 2 + 1) & 1 != 0
    }
}

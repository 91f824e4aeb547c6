//! An open hash table of places in one text, emptied for each use: what was seen first, and what came again.

/// A slot is some bits of the hash over the place plus one; zero is empty.
#[derive(Default)]
pub struct Table {
    slots: Vec<u32>,
    mask: usize,
    /// The bits that hold the place.
    places: u32,
}

impl Table {
    /// Empty, with room for `count` items whose places lie below `places`.
    pub fn reset(&mut self, count: usize, places: usize) {
        let size = (count * 2).next_power_of_two().max(16);
        if self.slots.len() < size {
            self.slots.resize(size, 0);
        }
        self.slots[..size].fill(0);
        self.mask = size - 1;
        self.places = ((places + 1).next_power_of_two() - 1) as u32;
    }

    /// The place that was given for an equal before, else none and `place` is kept for it.
    #[inline(always)]
    pub fn first(&mut self, hash: u64, place: u32, equal: impl Fn(u32) -> bool) -> Option<u32> {
        let tag = (hash >> 32) as u32 & !self.places;
        let mut at = hash as usize & self.mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.slots[at] = tag | (place + 1);
                return None;
            }
            let kept = (slot & self.places) - 1;
            if slot & !self.places == tag && equal(kept) {
                return Some(kept);
            }
            at = (at + 1) & self.mask;
        }
    }
}

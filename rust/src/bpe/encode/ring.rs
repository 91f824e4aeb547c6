//! Segments whose cache lines are being fetched: all are asked for before the first is looked at.

use super::batch::Batch;
use super::isa::Isa;
use super::packed_ids::Packing;
use crate::id::Id;

/// Segments whose cache lines are on their way before the first of them is looked at.
const AHEAD: usize = 64;
/// The home of a character that stands alone; its code is in the place of the key.
pub const CHARACTER: u32 = u32::MAX;

/// Segments that are being fetched.
pub struct Ring {
    keys: [u128; AHEAD],
    homes: [u32; AHEAD],
    count: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { keys: [0; AHEAD], homes: [0; AHEAD], count: 0 }
    }
}

impl Ring {
    #[inline(always)]
    pub fn push(&mut self, key: u128, home: u32) {
        self.keys[self.count % AHEAD] = key;
        self.homes[self.count % AHEAD] = home;
        self.count += 1;
    }

    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the next one needs a flush first.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.count == AHEAD
    }
}

impl<V: Packing, T: Id, I: Isa> Batch<'_, V, T, I> {
    /// Writes the ids of all segments of the ring that are known and notes the others.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        for at in 0..self.scratch.ring.count {
            let ring = &self.scratch.ring;
            let (key, home) = (ring.keys[at % AHEAD], ring.homes[at % AHEAD]);
            if home == CHARACTER {
                self.write_packed(self.tables.chars[key as usize]);
                continue;
            }
            let entry = self.scratch.cache.at_home(home as usize);
            if entry.key == key {
                self.write_packed(entry.ids);
            } else {
                self.scratch.misses.add(&self.scratch.cache, key, home as usize, self.count);
            }
        }
        self.scratch.ring.count = 0;
    }
}

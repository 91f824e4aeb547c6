//! Segments whose cache lines are being fetched: all are asked for before the first is looked at.

use super::misses::Misses;
use super::packed_ids::Packing;
use super::short_cache::ShortCache;
use crate::id::Id;

/// Segments whose cache lines are on their way before the first of them is looked at.
pub const AHEAD: usize = 64;
/// The home of a character that stands alone; its code is in the place of the key.
pub const CHARACTER: u32 = u32::MAX;

/// Segments that are being fetched.
pub struct Ring {
    keys: [u128; AHEAD],
    homes: [u32; AHEAD],
    pub count: usize,
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

    /// Writes the ids of all segments that are known after `count` ids and notes the others; returns how many there are
    /// then.
    ///
    /// # Safety
    /// As for [`EncodeTables::encode`].
    #[inline(always)]
    pub unsafe fn flush<V: Packing, T: Id>(
        &mut self,
        chars: &[[u64; 2]],
        cache: &ShortCache,
        misses: &mut Misses,
        out: *mut T,
        mut count: usize,
    ) -> usize {
        for (&key, &home) in self.keys.iter().zip(&self.homes).take(self.count) {
            // SAFETY: as the caller promised
            unsafe {
                if home == CHARACTER {
                    count += V::unpack(chars[key as usize], out.add(count));
                    continue;
                }
                let entry = cache.at_home(home as usize);
                if entry.key == key {
                    count += V::unpack(entry.ids, out.add(count));
                } else {
                    misses.add(cache, key, home as usize, count);
                }
            }
        }
        self.count = 0;
        count
    }
}

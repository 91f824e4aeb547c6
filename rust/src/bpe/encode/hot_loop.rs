//! Pre-tokens to ids, from the cache where they were seen before.
//!
//! Nearly all lie at home: the loop computes their homes, asks for the lines, and then writes two words for each.
//! docs/log.md has what it cost to look anywhere else in it.

use super::batch::Batch;
use super::isa::{Isa, Work};
use super::long_cache;
use super::packed_ids::Packing;
use crate::id::Id;
use crate::memory::key::{key_at, LONGEST};

/// Pre-tokens whose cache lines are fetched ahead: 64 are on their way while the 64 before are used.
const AHEAD: usize = 128;
/// Misses that are encoded together: the lines that were fetched for more of them would not stay in a core's cache.
const ENOUGH: usize = 512;

impl<V: Packing, T: Id, I: Isa> Batch<'_, V, T, I> {
    /// Writes what is known of the pre-tokens that end at `ends` and notes what is not.
    ///
    /// # Safety
    /// From the beginning of each, 16 bytes of the text can be read.
    #[inline(always)]
    pub(super) unsafe fn pass(&mut self, ends: &[u32]) {
        let mut keys = [0_u128; AHEAD];
        let mut homes = [0_u32; AHEAD];
        let mut from = 0_u32;
        // in registers: what is written could lie in the batch itself, as far as the compiler knows
        let (text, out, mut count) = (self.text.as_ptr(), self.start(), self.count);
        for ends in ends.chunks(AHEAD) {
            let first = from;
            let cache = &self.scratch.cache;
            for ((&end, key), home) in ends.iter().zip(&mut keys).zip(&mut homes) {
                // SAFETY: 16 bytes can be read from the beginning of each pre-token
                *key = unsafe { key_at(text.add(from as usize), (end - from) as usize) };
                *home = cache.home(*key) as u32;
                cache.prefetch(*home as usize);
                from = end;
            }
            from = first;
            for ((&end, &key), &home) in ends.iter().zip(&keys).zip(&homes) {
                // SAFETY: this cache was asked for the home, above
                let entry = unsafe { self.scratch.cache.at_home(home as usize) };
                if entry.key == key {
                    // SAFETY: ids of bytes that had none before, for which `out` has room and `SLACK` more
                    count += unsafe { V::unpack(entry.ids, out.add(count)) };
                } else {
                    self.count = count;
                    let isa = self.isa;
                    isa.run(Miss { batch: self, from: from as usize, to: end as usize, home: home as usize, key });
                    count = self.count;
                }
                from = end;
            }
        }
        self.count = count;
    }

    /// A pre-token that does not lie at home: written, or noted for later.
    #[inline(always)]
    fn miss(&mut self, from: usize, to: usize, home: usize, key: u128) {
        if let Some(ids) = self.scratch.cache.in_line(home, key) {
            return self.write_packed(ids);
        }
        if self.scratch.misses.len() >= ENOUGH {
            self.settle();
        }
        let pre_token = &self.text[from..to];
        // characters of three bytes from U+3000 on, alone or after a space: nearly all stand alone, and few such
        // pre-tokens come twice
        let han = pre_token[0] >= 0xe3 || pre_token.get(1).is_some_and(|&second| second >= 0xe3);
        if pre_token.len() <= LONGEST && !han {
            return self.scratch.misses.add(&self.scratch.cache, key, home, self.count);
        }
        if pre_token.len() <= long_cache::LONGEST && !han {
            return self.scratch.misses.add_long(&self.scratch.long, pre_token, from, self.count);
        }
        self.cut_up(from..to);
    }
}

/// A pre-token that does not lie at home.
struct Miss<'a, 'b, V, T, I> {
    batch: &'b mut Batch<'a, V, T, I>,
    from: usize,
    to: usize,
    home: usize,
    key: u128,
}

impl<V: Packing, T: Id, I: Isa> Work for Miss<'_, '_, V, T, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.batch.miss(self.from, self.to, self.home, self.key);
    }
}

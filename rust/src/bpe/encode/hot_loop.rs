//! Pre-tokens to ids, from the cache where they were seen before.

use super::long_cache;
use super::packed_ids::Packing;
use super::scratch::Scratch;
use super::tables::EncodeTables;
use crate::bpe::model::Model;
use crate::id::Id;
use crate::memory::key::{key_at, LONGEST};

/// Pre-tokens whose cache lines are fetched ahead: 64 are on their way while the 64 before are used.
const AHEAD: usize = 128;

impl EncodeTables {
    /// Writes the ids of the pre-tokens of `text` that end at `ends`, relative to `start`; returns how many.
    ///
    /// # Safety
    /// `out` has room for as many ids as the pre-tokens have bytes and `SLACK` more.
    pub unsafe fn encode<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        start: usize,
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.vectors {
            // SAFETY: the processor was asked; the rest as the caller promised
            return unsafe { self.encode_avx2::<V, T>(model, text, start, ends, scratch, out) };
        }
        // SAFETY: as the caller promised
        unsafe { self.encode_here::<V, T>(model, text, start, ends, scratch, out) }
    }

    /// The same, compiled for what every processor with wide vectors has.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
    unsafe fn encode_avx2<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        start: usize,
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        // SAFETY: as the caller promised
        unsafe { self.encode_here::<V, T>(model, text, start, ends, scratch, out) }
    }

    #[inline(always)]
    unsafe fn encode_here<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        start: usize,
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        let text = &text[start..];
        // a key is made by reading 16 bytes, which the last few pre-tokens of a text have not
        let begins = ends.iter().rev().skip(1).chain([&0]);
        let inside = ends.len() - begins.take_while(|&&begin| begin as usize + 16 > text.len()).count();
        // SAFETY: as the caller promised
        let mut count = unsafe { self.pass::<V, T>(model, text, &ends[..inside], scratch, out, 0) };
        if inside < ends.len() {
            let from = if inside == 0 { 0 } else { ends[inside - 1] };
            let (mut tail, mut tail_ends) = ([0; 32], [0; 16]);
            tail[..text.len() - from as usize].copy_from_slice(&text[from as usize..]);
            let tail_ends = &mut tail_ends[..ends.len() - inside];
            tail_ends.iter_mut().zip(&ends[inside..]).for_each(|(tail_end, end)| *tail_end = end - from);
            // SAFETY: as the caller promised; fewer than 16 bytes are left, and 32 can be read. What is pending lies in
            // the text itself.
            count = unsafe { self.settle::<V, T>(model, text, scratch, out, count) };
            // SAFETY: as above
            count = unsafe { self.pass::<V, T>(model, &tail, tail_ends, scratch, out, count) };
        }
        // SAFETY: as the caller promised
        unsafe { self.settle::<V, T>(model, text, scratch, out, count) }
    }

    /// Writes what is known after `count` ids and notes what is not; returns how many there are then. 16 bytes can be
    /// read from the beginning of each pre-token.
    #[inline(always)]
    unsafe fn pass<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
        mut count: usize,
    ) -> usize {
        let mut keys = [0_u128; AHEAD];
        let mut homes = [0_u32; AHEAD];
        let mut from = 0_u32;
        for ends in ends.chunks(AHEAD) {
            let first = from;
            for ((&end, key), home) in ends.iter().zip(&mut keys).zip(&mut homes) {
                // SAFETY: as the caller promised
                *key = unsafe { key_at(text.as_ptr().add(from as usize), (end - from) as usize) };
                *home = scratch.cache.home(*key) as u32;
                scratch.cache.prefetch(*home as usize);
                from = end;
            }
            from = first;
            for ((&end, &key), &home) in ends.iter().zip(&keys).zip(&homes) {
                let home = home as usize;
                let entry = scratch.cache.at_home(home);
                // SAFETY: every write stays within the bytes of its pre-token and the slack, as the caller promised
                count = unsafe {
                    if entry.key == key {
                        count + V::unpack(entry.ids, out.add(count))
                    } else {
                        self.miss::<V, T>(model, text, from as usize, end as usize, home, key, scratch, out, count)
                    }
                };
                from = end;
            }
        }
        count
    }

    /// A pre-token that does not lie at home: written, or noted for later; returns how many ids there are then.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what the loop has at hand")]
    unsafe fn miss<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        from: usize,
        to: usize,
        home: usize,
        key: u128,
        scratch: &mut Scratch,
        out: *mut T,
        count: usize,
    ) -> usize {
        if let Some(ids) = scratch.cache.in_line(home, key) {
            // SAFETY: as the caller promised
            return unsafe { count + V::unpack(ids, out.add(count)) };
        }
        let pre_token = &text[from..to];
        // characters of three bytes from U+3000 on, alone or after a space: nearly all stand alone, and few such
        // pre-tokens come twice
        let han = pre_token[0] >= 0xe3 || pre_token.get(1).is_some_and(|&second| second >= 0xe3);
        if pre_token.len() <= LONGEST && !han {
            scratch.misses.add(&scratch.cache, key, home, count);
            return count;
        }
        if pre_token.len() <= long_cache::LONGEST && !han {
            scratch.misses.add_long(&scratch.long, pre_token, from, count);
            return count;
        }
        // SAFETY: as the caller promised
        unsafe { self.hard::<V, T>(model, text, from, to, scratch, out, count) }
    }
}

//! Pre-tokens of 16 to 110 bytes seen before, with their ids: long words of any script but Han, rules of dashes,
//! indents.

use super::packed_ids::Packing;
use crate::memory::huge::Zeroed;
use crate::memory::key::fold;
use crate::memory::mapped_slice::Plain;
use crate::memory::prefetch::prefetch;

/// Shortest and longest pre-token that is kept.
pub const SHORTEST: usize = 16;
pub const LONGEST: usize = 110;
/// Ids that fit, in halves of 16 bits.
const HALVES: usize = 40;
/// 2^15 entries are 6 MB a thread.
const BITS: u32 = 15;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Entry {
    /// Zero where nothing is kept.
    length: u8,
    halves: u8,
    text: [u8; LONGEST],
    /// A half an id in a narrow layout, else two.
    ids: [u16; HALVES],
}

// SAFETY: integers without gaps: 2 + 110 + 80 bytes
unsafe impl Plain for Entry {}

/// One place a pre-token, and the last comer has it.
pub struct LongCache {
    entries: Zeroed<Entry>,
}

impl LongCache {
    pub fn new() -> Self {
        Self { entries: Zeroed::new(1 << BITS) }
    }

    #[inline(always)]
    pub fn place(pre_token: &[u8]) -> usize {
        debug_assert!((SHORTEST..=LONGEST).contains(&pre_token.len()));
        let word = |at: usize| u128::from_le_bytes(pre_token[at..at + 16].try_into().expect("sixteen bytes"));
        let starts = (0..pre_token.len() - 16).step_by(16).chain([pre_token.len() - 16]);
        let hash = starts.fold(pre_token.len() as u64, |hash, at| fold(word(at) ^ u128::from(hash)));
        (hash >> (64 - BITS)) as usize
    }

    #[inline(always)]
    pub fn prefetch(&self, place: usize) {
        let entry = self.entries.as_ptr().wrapping_add(place);
        (0..size_of::<Entry>()).step_by(64).for_each(|at| prefetch(entry.cast::<u8>().wrapping_add(at)));
    }

    /// Appends the ids of a pre-token; false where it is not kept.
    #[inline(always)]
    pub fn get<V: Packing>(&self, place: usize, pre_token: &[u8], ids: &mut Vec<u32>) -> bool {
        let entry = &self.entries[place];
        if usize::from(entry.length) != pre_token.len() || entry.text[..pre_token.len()] != *pre_token {
            return false;
        }
        let halves = &entry.ids[..usize::from(entry.halves)];
        if V::NARROW {
            ids.extend(halves.iter().map(|&id| u32::from(id)));
        } else {
            ids.extend(halves.chunks(2).map(|id| u32::from(id[0]) | u32::from(id[1]) << 16));
        }
        true
    }

    pub fn put<V: Packing>(&mut self, place: usize, pre_token: &[u8], ids: &[u32]) {
        let halves = if V::NARROW { ids.len() } else { 2 * ids.len() };
        if halves > HALVES {
            return;
        }
        let entry = &mut self.entries[place];
        entry.length = pre_token.len() as u8;
        entry.halves = halves as u8;
        entry.text[..pre_token.len()].copy_from_slice(pre_token);
        if V::NARROW {
            entry.ids.iter_mut().zip(ids).for_each(|(half, &id)| *half = id as u16);
        } else {
            entry
                .ids
                .chunks_mut(2)
                .zip(ids)
                .for_each(|(half, &id)| half.copy_from_slice(&[id as u16, (id >> 16) as u16]));
        }
    }
}

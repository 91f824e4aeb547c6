//! Pre-tokens that the loop did not find at home. They are encoded together when a batch is through, for each of them
//! waits for memory several times, and their ids are then inserted among those that were found.

use std::mem::MaybeUninit;

use super::long_cache::LongCache;
use super::packed_ids::{Packing, SLACK};
use super::short_cache::ShortCache;
use crate::bpe::merge::lockstep::{merge_all, padded, FEW, MANY};
use crate::bpe::model::Model;
use crate::id::Id;

/// Where ids begin that are not in `spilled`.
const NONE: u32 = u32::MAX;

/// A pre-token, or a segment of one, on its way to its ids.
struct Miss {
    /// Of a long one, where it begins and ends in the text.
    key: u128,
    /// Packed ids, where they fit.
    ids: [u64; 2],
    /// Of a long one, its place among the long ones.
    home: u32,
    long: bool,
    /// How many ids stand before its own, those of other misses left out.
    at: u32,
    /// How many it has.
    count: u32,
    /// Where they begin in `spilled`, where they are there.
    spilled: u32,
}

/// Kept between calls.
#[derive(Default)]
pub struct Misses {
    noted: Vec<Miss>,
    /// Those that the cache does not hold: key and number.
    unknown: Vec<(u128, u32)>,
    /// The numbers of those that the long ones do not hold.
    unknown_long: Vec<u32>,
    spilled: Vec<u32>,
    /// What was written after the first of them, while room is made. In 64 bits, to be aligned for any id.
    held: Vec<u64>,
}

impl Misses {
    pub fn len(&self) -> usize {
        self.noted.len()
    }

    /// Notes a pre-token whose ids belong after the `at` that are written, and fetches the lines in which it may lie.
    #[inline(always)]
    pub fn add(&mut self, cache: &ShortCache, key: u128, home: usize, at: usize) {
        cache.prefetch_beside(home);
        self.note(key, home, false, at);
    }

    /// The same of a pre-token that is too long for a key; it begins at `from` in the text that [`Misses::find`] is
    /// given.
    #[inline(always)]
    pub fn add_long(&mut self, long: &LongCache, miss: &[u8], from: usize, at: usize) {
        let home = LongCache::place(miss);
        long.prefetch(home);
        let key = from as u128 | (miss.len() as u128) << 64;
        self.note(key, home, true, at);
    }

    #[inline(always)]
    fn note(&mut self, key: u128, home: usize, long: bool, at: usize) {
        let (home, at) = (home as u32, at as u32);
        self.noted.push(Miss { key, ids: [0; 2], home, long, at, count: 0, spilled: NONE });
    }

    /// Looks each pre-token up, and encodes and keeps those that are new; `encode` does so with one that is too long to
    /// be merged beside others.
    #[inline(always)]
    pub fn find<V: Packing>(
        &mut self,
        model: &Model,
        text: &[u8],
        cache: &mut ShortCache,
        long: &mut LongCache,
        mut encode: impl FnMut(&[u8], &mut Vec<u32>),
    ) {
        let Self { noted: misses, unknown, unknown_long, spilled, .. } = self;
        spilled.clear();
        unknown.clear();
        unknown_long.clear();
        let bytes = |miss: &Miss| {
            let (from, length) = (miss.key as u64 as usize, (miss.key >> 64) as usize);
            &text[from..from + length]
        };
        for (number, miss) in (0_u32..).zip(&mut *misses) {
            if miss.long {
                let bytes = bytes(miss);
                let first = spilled.len();
                if !long.get::<V>(miss.home as usize, bytes, spilled) {
                    if let Some(&id) = model.whole.get(bytes) {
                        spilled.push(id);
                    } else if bytes.len() <= MANY {
                        unknown_long.push(number);
                        continue;
                    } else {
                        encode(bytes, spilled);
                        long.put::<V>(miss.home as usize, bytes, &spilled[first..]);
                    }
                }
                miss.spilled = first as u32;
                miss.count = (spilled.len() - first) as u32;
            } else if let Some(ids) = cache.get(miss.home as usize, miss.key) {
                miss.ids = ids;
                miss.count = V::count(ids);
            } else if let Some(&id) = whole(model, miss.key) {
                miss.ids = V::pack(&[id]);
                miss.count = 1;
            } else if let Some(halves) = cache.get_halves(miss.home as usize, miss.key) {
                miss.spilled = spilled.len() as u32;
                for half in halves {
                    extend::<V>(spilled, half);
                }
                miss.count = spilled.len() as u32 - miss.spilled;
            } else {
                unknown.push((miss.key, number));
            }
        }
        let keys = unknown.iter().map(|(key, _)| (key.to_le_bytes(), (key >> 120) as usize));
        merge_all::<FEW>(model, keys, |number, merged| {
            let miss = &mut misses[unknown[number].1 as usize];
            let (mut ids, mut count) = ([0; FEW], 0);
            for token in merged.parts() {
                ids[count % FEW] = model.ids[token as usize];
                count += 1;
            }
            miss.count = count as u32;
            if count <= V::MOST {
                miss.ids = V::pack(&ids[..count]);
                cache.put(miss.home as usize, miss.key, miss.ids);
            } else {
                miss.spilled = spilled.len() as u32;
                spilled.extend_from_slice(&ids[..count]);
                if count <= 2 * V::MOST {
                    let (first, second) = ids[..count].split_at(V::MOST);
                    cache.put_halves(miss.home as usize, miss.key, [V::pack(first), V::pack(second)]);
                }
            }
        });
        let texts = unknown_long.iter().map(|&number| bytes(&misses[number as usize]));
        let texts: Vec<&[u8]> = texts.collect();
        merge_all::<MANY>(model, texts.iter().map(|bytes| padded(bytes)), |number, merged| {
            let miss = &mut misses[unknown_long[number] as usize];
            let first = spilled.len();
            spilled.extend(merged.parts().map(|token| model.ids[token as usize]));
            long.put::<V>(miss.home as usize, texts[number], &spilled[first..]);
            miss.spilled = first as u32;
            miss.count = (spilled.len() - first) as u32;
        });
    }

    /// Makes room among the `count` ids at `out` and inserts those of the pre-tokens; returns how many there are then.
    ///
    /// # Safety
    /// `out` has room for all of them and for `SLACK` more.
    #[inline(always)]
    pub unsafe fn insert<V: Packing, T: Id>(&mut self, out: *mut T, count: usize) -> usize {
        let first = self.noted[0].at as usize;
        let moved = count - first;
        self.held.clear();
        self.held.reserve((moved + SLACK) * size_of::<T>() / 8 + 1);
        let held = self.held.as_mut_ptr().cast::<T>();
        // SAFETY: `held` was given room for what is moved and `SLACK` more, and so was `out` for all ids together
        unsafe {
            held.copy_from_nonoverlapping(out.add(first), moved);
            let (mut read, mut write) = (0, first);
            for miss in &self.noted {
                let until = miss.at as usize - first;
                copy(held.add(read), out.add(write), until - read);
                write += until - read;
                read = until;
                if miss.spilled == NONE {
                    V::unpack(miss.ids, out.add(write));
                } else {
                    let ids = &self.spilled[miss.spilled as usize..][..miss.count as usize];
                    for (place, &id) in ids.iter().enumerate() {
                        out.add(write + place).write(T::from_u32(id));
                    }
                }
                write += miss.count as usize;
            }
            copy(held.add(read), out.add(write), moved - read);
            self.noted.clear();
            write + moved - read
        }
    }
}

#[inline(always)]
fn extend<V: Packing>(ids: &mut Vec<u32>, packed: [u64; 2]) {
    let mut lanes = [0_u32; SLACK];
    // SAFETY: there is room for as many as a write may touch
    let count = unsafe { V::unpack(packed, lanes.as_mut_ptr()) };
    ids.extend_from_slice(&lanes[..count]);
}

/// The id of a token that merging its bytes does not lead to.
#[inline(always)]
fn whole(model: &Model, key: u128) -> Option<&u32> {
    if model.whole.is_empty() {
        return None;
    }
    model.whole.get(&key.to_le_bytes()[..(key >> 120) as usize])
}

/// Copies `count` ids, and some more that the next write covers: most runs are shorter than a call to memcpy is worth.
///
/// # Safety
/// Both have room for `SLACK` ids more, and do not overlap.
#[inline(always)]
unsafe fn copy<T: Id>(from: *const T, to: *mut T, count: usize) {
    let mut done = 0;
    while done < count {
        // SAFETY: both have room for `SLACK` ids more than `count`, so for the whole of the last step
        unsafe {
            let from = from.add(done).cast::<[MaybeUninit<T>; SLACK]>();
            to.add(done).cast::<[MaybeUninit<T>; SLACK]>().write_unaligned(from.read_unaligned());
        }
        done += SLACK;
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed_ids::{Narrow, Wide};
    use super::*;

    /// Rows of ids between which known ids stand: once inserted, once joined as they come.
    fn inserts<V: Packing, T: Id>(rows: &[(usize, usize)]) {
        let mut misses = Misses::default();
        let (mut written, mut expected, mut next) = (Vec::<T>::new(), Vec::new(), 0_u32);
        let mut take = |count: usize| {
            next += count as u32;
            (next - count as u32..next).collect::<Vec<u32>>()
        };
        for &(known, row) in rows {
            let (known, row) = (take(known), take(row));
            written.extend(known.iter().map(|&id| T::from_u32(id)));
            expected.extend(known.iter().chain(&row).copied());
            misses.note(0, 0, false, written.len());
            let last = misses.noted.len() - 1;
            let miss = &mut misses.noted[last];
            miss.count = row.len() as u32;
            if row.len() <= V::MOST {
                miss.ids = V::pack(&row);
            } else {
                miss.spilled = misses.spilled.len() as u32;
                misses.spilled.extend(&row);
            }
        }
        let count = written.len();
        written.reserve(expected.len() + SLACK);
        // SAFETY: there is room for all ids and `SLACK` more, and so many are written
        unsafe {
            let total = misses.insert::<V, T>(written.as_mut_ptr(), count);
            written.set_len(total);
        }
        assert!(written.iter().map(|id| id.to_u32()).eq(expected));
        assert_eq!(misses.len(), 0);
    }

    #[test]
    fn ids_of_misses_are_inserted_where_they_belong() {
        let rows = [(0, 1), (3, 4), (0, 0), (9, 9), (1, 20), (30, 7), (8, 3)];
        for from in 0..rows.len() {
            inserts::<Narrow, u16>(&rows[from..]);
            inserts::<Narrow, u32>(&rows[from..]);
            inserts::<Wide, u32>(&rows[from..]);
        }
    }
}

//! Pre-tokens seen before, up to 15 bytes long, with their ids: two entries a cache line, of fixed size in memory.

use crate::memory::huge::Zeroed;
use crate::memory::key::fold;
use crate::memory::mapped_slice::Plain;
use crate::memory::prefetch::prefetch;

/// Set in the length of a pre-token whose ids need two entries.
const FIRST_HALF: u128 = 1 << 126;
const SECOND_HALF: u128 = 1 << 127;

#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub struct Entry {
    /// Bytes of the pre-token, zeros, and its length; zero where nothing is kept.
    pub key: u128,
    pub ids: [u64; 2],
}

// SAFETY: integers without gaps
unsafe impl Plain for Entry {}

/// Entries among which a pre-token may lie: with four, one in eleven found no place beside 60 MB of English, and taking
/// turns made twice as many new in every pass.
const REACH: usize = 8;

/// A pre-token has one place, its home. It lies there, in the other entry of the same cache line, in one of the three
/// lines beside it, or nowhere. The loop looks at home only: looking at two entries of a line cost as much again, for
/// nothing tells the processor which of the two it will be, and half of its guesses are wrong.
pub struct ShortCache {
    entries: Zeroed<Entry>,
    shift: u32,
    turn: u32,
}

impl ShortCache {
    /// `bits`: the binary logarithm of the number of entries.
    pub fn new(bits: u32) -> Self {
        Self { entries: Zeroed::new(1 << bits), shift: 64 - bits, turn: 0 }
    }

    #[inline(always)]
    pub fn home(&self, key: u128) -> usize {
        (fold(key) >> self.shift) as usize
    }

    #[inline(always)]
    pub fn prefetch(&self, home: usize) {
        prefetch(self.entries.as_ptr().wrapping_add(home));
    }

    /// Fetches the lines beside the one of a home.
    #[inline(always)]
    pub fn prefetch_beside(&self, home: usize) {
        (2..REACH).step_by(2).for_each(|step| self.prefetch(home ^ step));
    }

    /// What lies at a home; its key tells whether it is what was sought.
    ///
    /// # Safety
    /// `home` comes from [`ShortCache::home`] of this cache.
    #[inline(always)]
    pub unsafe fn at_home(&self, home: usize) -> &Entry {
        debug_assert!(home < self.entries.len());
        // SAFETY: a home has no more bits than number the entries
        unsafe { self.entries.get_unchecked(home) }
    }

    /// Looks at the other entry of the line.
    #[inline(always)]
    pub fn in_line(&mut self, home: usize, key: u128) -> Option<[u64; 2]> {
        let entry = self.entries[home ^ 1];
        if entry.key != key {
            return None;
        }
        // two common pre-tokens of one home would take turns for ever
        if self.next_turn().is_multiple_of(8) {
            self.entries.swap(home, home ^ 1);
        }
        Some(entry.ids)
    }

    /// Looks everywhere. What is found far from home moves into its line, and who lived there takes its place.
    #[inline(always)]
    pub fn get(&mut self, home: usize, key: u128) -> Option<[u64; 2]> {
        let found = (0..REACH).map(|step| home ^ step).find(|&place| self.entries[place].key == key)?;
        let ids = self.entries[found].ids;
        match self.next_turn() % 4 {
            0 => self.entries.swap(home, found),
            1 => self.entries.swap(home ^ 1, found),
            _ => {}
        }
        Some(ids)
    }

    /// Keeps a pre-token whose ids are packed, in place of another where all that it may have are taken.
    pub fn put(&mut self, home: usize, key: u128, ids: [u64; 2]) {
        let fits = |&place: &usize| self.entries[place].key == 0 || self.entries[place].key == key;
        let free = (0..REACH).map(|step| home ^ step).find(fits);
        let place = free.unwrap_or_else(|| home ^ (1 + self.next_turn() as usize % (REACH - 1)));
        self.entries[place] = Entry { key, ids };
    }

    /// What [`ShortCache::put_halves`] keeps.
    #[inline(always)]
    pub fn get_halves(&mut self, home: usize, key: u128) -> Option<[[u64; 2]; 2]> {
        let find = |key| (0..REACH).map(|step| &self.entries[home ^ step]).find(|entry| entry.key == key);
        Some([find(key | FIRST_HALF)?.ids, find(key | SECOND_HALF)?.ids])
    }

    /// Keeps a pre-token whose ids need two entries, where the loop does not see them: in its place and one more.
    pub fn put_halves(&mut self, home: usize, key: u128, [first, second]: [[u64; 2]; 2]) {
        self.put(home, key | FIRST_HALF, first);
        self.put(home, key | SECOND_HALF, second);
    }

    fn next_turn(&mut self) -> u32 {
        self.turn = self.turn.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        self.turn >> 16
    }

    /// As [`ShortCache::put`], but never in place of another.
    pub fn seed(&mut self, Entry { key, ids }: Entry) {
        let home = self.home(key);
        let mut places = (0..REACH).map(|step| home ^ step);
        let entries = &mut self.entries;
        if let Some(place) = places.find(|&place| entries[place].key == 0 || entries[place].key == key) {
            entries[place] = Entry { key, ids };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_is_what_was_kept_wherever_it_lies() {
        let mut cache = ShortCache::new(6);
        let pre_token = |number: u64| (u128::from(number) * 0x1_0000_0001) | (9 << 120);
        let ids = |number: u64| [number, !number];
        let (mut state, mut at_home, mut in_line, mut elsewhere, mut halves) = (3_u64, 0, 0, 0, 0);
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (state >> 33) % 90;
            let (key, home) = (pre_token(number), cache.home(pre_token(number)));
            if number.is_multiple_of(3) {
                let Some(found) = cache.get_halves(home, key) else {
                    cache.put_halves(home, key, [ids(number), ids(1000 + number)]);
                    continue;
                };
                assert_eq!(found, [ids(number), ids(1000 + number)]);
                halves += 1;
            // SAFETY: it is this cache's home
            } else if unsafe { cache.at_home(home) }.key == key {
                // SAFETY: it is this cache's home
                assert_eq!(unsafe { cache.at_home(home) }.ids, ids(number));
                at_home += 1;
            } else if let Some(found) = cache.in_line(home, key) {
                assert_eq!(found, ids(number));
                in_line += 1;
            } else if let Some(found) = cache.get(home, key) {
                assert_eq!(found, ids(number));
                elsewhere += 1;
            } else {
                cache.put(home, key, ids(number));
                assert_eq!(cache.get(home, key), Some(ids(number)));
            }
        }
        assert!([at_home, in_line, elsewhere, halves].iter().all(|&count| count > 500));
    }
}

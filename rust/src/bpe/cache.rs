//! Pieces seen before, up to 15 bytes long, with their ids: two entries a cache line, of fixed size in memory.

use super::key::fold;
use super::pairs::prefetch;
use super::table::Plain;
use super::zeroed::Zeroed;

#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
pub struct Entry {
    /// Bytes of the piece, zeros, and its length; zero where nothing is kept.
    pub key: u128,
    pub ids: [u64; 2],
}

// SAFETY: integers without gaps
unsafe impl Plain for Entry {}

/// A piece has one place, its home. It lies there, in the other entry of the same cache line, in the line beside it, or
/// nowhere. The loop looks at home only: looking at two entries of a line cost as much again, for which of them it is
/// is a matter of chance that a branch guesses wrong.
pub struct Cache {
    entries: Zeroed<Entry>,
    shift: u32,
    turn: u32,
}

impl Cache {
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

    /// What lies at a home; its key tells whether it is what was sought.
    #[inline(always)]
    pub fn at_home(&self, home: usize) -> &Entry {
        // SAFETY: `home` comes from `Cache::home`, which yields fewer bits than there are entries
        unsafe { self.entries.get_unchecked(home) }
    }

    /// Looks at home and beside it. What is found elsewhere moves home, and who lived there takes its place.
    #[inline(always)]
    pub fn get(&mut self, home: usize, key: u128) -> Option<[u64; 2]> {
        let found = (0..4).map(|step| home ^ step).find(|&place| self.entries[place].key == key)?;
        let ids = self.entries[found].ids;
        // two common pieces of one home would take turns for ever
        if self.next_turn().is_multiple_of(4) {
            self.entries.swap(home, found);
        }
        Some(ids)
    }

    /// Keeps a piece whose ids are packed, in place of another where the four entries that it may have are taken.
    pub fn put(&mut self, home: usize, key: u128, ids: [u64; 2]) {
        let fits = |&place: &usize| self.entries[place].key == 0 || self.entries[place].key == key;
        let free = (0..4).map(|step| home ^ step).find(fits);
        let place = free.unwrap_or_else(|| home ^ (1 + self.next_turn() as usize % 3));
        self.entries[place] = Entry { key, ids };
    }

    fn next_turn(&mut self) -> u32 {
        self.turn = self.turn.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        self.turn >> 16
    }

    /// As [`Cache::put`], but never in place of another.
    pub fn seed(&mut self, Entry { key, ids }: Entry) {
        let home = self.home(key);
        let mut places = (0..4).map(|step| home ^ step);
        let entries = &mut self.entries;
        if let Some(place) = places.find(|&place| entries[place].key == 0 || entries[place].key == key) {
            entries[place] = Entry { key, ids };
        }
    }
}

//! Exact counts of the pairs that can still be merged, by pair; open-addressed.

use crate::memory::prefetch::prefetch_item;

/// Two ids in one number: the order of numbers is the order of pairs.
#[inline(always)]
pub(super) fn pair(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

#[derive(Clone, Copy)]
pub(super) struct Entry {
    key: u64,
    pub count: u64,
    /// Names the lists of occurrences in the shares.
    pub index: u32,
}

/// No pair: its ids would be the largest there are.
const NONE: u64 = u64::MAX;
const EMPTY: Entry = Entry { key: NONE, count: 0, index: 0 };

pub(super) struct PairCounts {
    entries: Vec<Entry>,
    used: usize,
    shift: u32,
    /// The index of the next pair to be added.
    next: u32,
}

impl PairCounts {
    pub fn new() -> Self {
        let bits = 12;
        Self { entries: vec![EMPTY; 1 << bits], used: 0, shift: 64 - bits, next: 0 }
    }

    /// How many pairs were ever added: all indices are below.
    pub fn indices(&self) -> usize {
        self.next as usize
    }

    #[inline(always)]
    fn home(&self, key: u64) -> usize {
        // both ids reach the high bits: a lone multiplication would leave those of the left id out of most of them
        let mixed = (key ^ (key >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.rotate_left(32);
        (mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> self.shift) as usize
    }

    #[inline(always)]
    pub fn prefetch(&self, key: u64) {
        prefetch_item(&self.entries, self.home(key));
    }

    #[inline(always)]
    fn seek(&self, key: u64) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = self.home(key);
        while self.entries[at].key != key && self.entries[at].key != NONE {
            at = (at + 1) & mask;
        }
        at
    }

    #[inline(always)]
    pub fn get(&self, key: u64) -> Option<Entry> {
        let entry = self.entries[self.seek(key)];
        (entry.key == key).then_some(entry)
    }

    /// Takes `count` away from a pair, if it is known.
    #[inline(always)]
    pub fn lower(&mut self, key: u64, count: u64) {
        let at = self.seek(key);
        let entry = &mut self.entries[at];
        if entry.key == key {
            // the pair that is being merged has no count any more, and runs of one token still name it here
            entry.count = entry.count.saturating_sub(count);
        }
    }

    /// The pair is merged: it does not occur any more.
    pub fn clear(&mut self, key: u64) {
        let at = self.seek(key);
        if self.entries[at].key == key {
            self.entries[at].count = 0;
        }
    }

    /// Adds `count` to a pair, which is given the next index where it is new; returns its index.
    #[inline(always)]
    pub fn add(&mut self, key: u64, count: u64, worth: u64) -> u32 {
        let mut at = self.seek(key);
        if self.entries[at].key == NONE {
            if (self.used + 1) * 2 > self.entries.len() {
                self.make_room(worth);
                at = self.seek(key);
            }
            self.entries[at] = Entry { key, count: 0, index: self.next };
            self.next += 1;
            self.used += 1;
        }
        self.entries[at].count += count;
        self.entries[at].index
    }

    /// Forgets pairs whose count fell below `worth`, and doubles the room if that does not help.
    fn make_room(&mut self, worth: u64) {
        let kept = self.entries.iter().filter(|entry| entry.key != NONE && entry.count >= worth).count();
        let bits = if kept * 4 > self.entries.len() { 65 - self.shift } else { 64 - self.shift };
        let old = std::mem::replace(&mut self.entries, vec![EMPTY; 1 << bits]);
        self.shift = 64 - bits;
        self.used = kept;
        for entry in old {
            if entry.key != NONE && entry.count >= worth {
                let at = self.seek(entry.key);
                self.entries[at] = entry;
            }
        }
    }

    /// Every pair with its entry.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Entry)> + '_ {
        self.entries.iter().filter(|entry| entry.key != NONE).map(|entry| (entry.key, *entry))
    }
}

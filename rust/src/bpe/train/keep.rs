//! Which pairs are worth a count, and which may be merged at all.

use std::collections::HashSet;

use super::Merge;

/// Which pairs are worth to be known.
pub(super) enum Keep {
    AtLeast(u64),
    /// While merges that were made before are applied: theirs.
    These(HashSet<u64>),
}

impl Keep {
    #[inline(always)]
    pub fn wants(&self, key: u64, count: u64) -> bool {
        match self {
            Self::AtLeast(worth) => count >= *worth,
            Self::These(keys) => keys.contains(&key),
        }
    }

    /// Raises the threshold until what is listed fits `room`; `pairs` are counts and occurrences of those wanted now.
    /// The most frequent stay whatever they take: without them there is no next merge.
    pub fn fit(&mut self, mut pairs: Vec<(u64, u64)>, room: usize) {
        let Self::AtLeast(worth) = self else { return };
        pairs.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
        let mut listed = 0;
        for &(count, occurrences) in &pairs {
            listed += occurrences;
            if listed > room as u64 {
                *worth = (count + 1).min(pairs[0].0).max(*worth);
                return;
            }
        }
    }

    /// A pair counted less is not needed any more.
    pub fn worth(&self) -> u64 {
        match self {
            Self::AtLeast(worth) => *worth,
            Self::These(_) => 0,
        }
    }
}

/// Bytes and slots of the tokens, by id.
pub(super) struct Tokens {
    pub bytes: Vec<u32>,
    /// One for tokens that are older than the last count.
    pub slots: Vec<u32>,
    pub longest: u64,
}

impl Tokens {
    /// Whether the pair may ever be merged. A pair of two bytes always may, and a longer one if it stays below the
    /// greatest length: what the trainer does whose merges these must be.
    #[inline(always)]
    pub fn may_merge(&self, key: u64) -> bool {
        let (left, right) = ((key >> 32) as usize, key as u32 as usize);
        left.max(right) < 256 || u64::from(self.bytes[left]) + u64::from(self.bytes[right]) < self.longest
    }

    pub fn push(&mut self, (left, right): Merge) -> u32 {
        let (left, right) = (left as usize, right as usize);
        self.bytes.push(self.bytes[left] + self.bytes[right]);
        self.slots.push(self.slots[left] + self.slots[right]);
        self.bytes.len() as u32 - 1
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

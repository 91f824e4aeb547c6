//! Hashes of runs of units, and how far two sets of them agree.

use super::units::{fold, Units};
use crate::clean::words::Cut;

const BASE: u64 = 0xa076_1d64_78bd_642f;
const LAST: u64 = 0xe703_7ed1_a0b4_28db;

/// Cuts texts into shingles.
#[derive(Default)]
pub(super) struct Shingles {
    units: Units,
}

/// Units of a shingle, where nothing is said.
pub(super) fn units_of(cut: Cut) -> usize {
    match cut {
        Cut::Spaced => 5,
        Cut::Characters => 8,
    }
}

impl Shingles {
    /// Visits the hash of every run of `length` units; all units at once where there are fewer, nothing where none is.
    #[inline(always)]
    pub fn each(&mut self, text: &str, length: usize, mut visit: impl FnMut(u64)) {
        self.units.read(text);
        let units = &self.units.hashes;
        let (first, rest) = units.split_at(length.min(units.len()));
        if first.is_empty() {
            return;
        }
        let leaving = (0..length).fold(1u64, |power, _| power.wrapping_mul(BASE));
        let mut sum = first.iter().fold(0u64, |sum, unit| sum.wrapping_mul(BASE).wrapping_add(*unit));
        visit(fold(sum ^ LAST, BASE));
        for (old, new) in units.iter().zip(rest) {
            sum = sum.wrapping_mul(BASE).wrapping_add(*new).wrapping_sub(old.wrapping_mul(leaving));
            visit(fold(sum ^ LAST, BASE));
        }
    }

    /// The set of a text, in order.
    pub fn set(&mut self, text: &str, length: usize, set: &mut Vec<u64>) {
        set.clear();
        self.each(text, length, |shingle| set.push(shingle));
        ordered(set);
    }
}

pub(super) fn ordered(set: &mut Vec<u64>) {
    set.sort_unstable();
    set.dedup();
}

/// Whether two ordered sets share this much of what they have together.
pub(super) fn agree(one: &[u64], other: &[u64], threshold: f64) -> bool {
    let (fewer, more) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    let jaccard = |shared: usize| shared as f64 / (one.len() + other.len() - shared) as f64;
    if fewer.is_empty() || jaccard(fewer.len()) < threshold {
        return false;
    }
    jaccard(shared(fewer, more)) >= threshold
}

/// How many are in both. A step without a branch: which of the two is less cannot be foretold.
fn shared(one: &[u64], other: &[u64]) -> usize {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < one.len() && j < other.len() {
        let (a, b) = (one[i], other[j]);
        count += usize::from(a == b);
        i += usize::from(a <= b);
        j += usize::from(b <= a);
    }
    count
}

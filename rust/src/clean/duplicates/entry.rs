//! A band of a document, as it is sorted.

use super::sort::Record;

/// A band of a document: by band, hash, what orders a bucket and document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(u128);

impl Entry {
    pub fn new(band: usize, hash: u64, order: u64, document: u32) -> Self {
        Self((band as u128) << 120 | u128::from(hash) << 56 | u128::from(order >> 40) << 32 | u128::from(document))
    }

    pub fn document(self) -> u32 {
        self.0 as u32
    }

    pub fn bucket(self) -> u128 {
        self.0 >> 56
    }

    pub fn band(self) -> usize {
        (self.0 >> 120) as usize
    }
}

impl Record for Entry {
    const BYTES: usize = u128::BYTES;

    fn put(self, to: &mut Vec<u8>) {
        self.0.put(to);
    }

    fn take(from: &[u8]) -> Self {
        Self(u128::take(from))
    }
}

//! `FineWeb`'s `MinHash` as datatrove computes it: the same 112 numbers of a text, to the bit, where words are cut alike.
//!
//! Shingles are five words of the simplified text. The 112 functions are x·a + b modulo 2^61 - 1, of a product that
//! wraps at 2^64 before: not what the books call universal, but what made `FineWeb`. A text of fewer than five words has
//! no shingle and is nobody's duplicate.

mod mersenne;
mod simplify;

use sha1::{Digest, Sha1};
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh64::xxh64;

use self::mersenne::RandomState;
pub use self::simplify::simplify;
use super::sketcher::{NOTHING, SPACED};
use crate::clean::words;
use crate::error::{Error, Result};

const BUCKETS: usize = 14;
const ROWS: usize = 8;
const FUNCTIONS: usize = BUCKETS * ROWS;
const PRIME: u64 = (1 << 61) - 1;
const WORDS: usize = 5;

/// What shingles are hashed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    Xxh64,
    Sha1,
}

impl Hash {
    pub fn parse(given: &str) -> Result<Self> {
        match given {
            "xxh64" => Ok(Self::Xxh64),
            "sha1" => Ok(Self::Sha1),
            other => Err(Error::usage(format!("{other:?} is no hash that shingles are hashed with"))
                .hint("xxh64 and sha1 are what datatrove has")),
        }
    }

    /// A text's 64 bits.
    pub fn of(self, text: &str) -> u64 {
        match self {
            Self::Xxh64 => xxh64(text.as_bytes(), 0),
            Self::Sha1 => u64::from_le_bytes(*Sha1::digest(text.as_bytes()).first_chunk().expect("twenty bytes")),
        }
    }
}

/// The factors and summands of the functions.
pub fn parameters() -> ([u64; FUNCTIONS], [u64; FUNCTIONS]) {
    let mut drawn = RandomState::new(1);
    let factors = std::array::from_fn(|_| drawn.below(1, PRIME));
    (factors, std::array::from_fn(|_| drawn.below(0, PRIME)))
}

/// Makes signatures; one a thread.
pub struct FineWeb {
    hash: Hash,
    words: usize,
    factors: [u64; FUNCTIONS],
    summands: [u64; FUNCTIONS],
    signature: [u64; FUNCTIONS],
    spaced: String,
    simple: String,
    joined: String,
    places: Vec<(usize, usize)>,
    chunks: words::Chunks,
}

impl FineWeb {
    pub fn new(hash: Hash, words: Option<usize>) -> Self {
        let (factors, summands) = parameters();
        Self {
            hash,
            words: words.unwrap_or(WORDS),
            factors,
            summands,
            signature: [0; FUNCTIONS],
            spaced: String::new(),
            simple: String::new(),
            joined: String::new(),
            places: Vec::new(),
            chunks: words::Chunks::new(),
        }
    }

    pub fn buckets(&self) -> usize {
        BUCKETS
    }

    /// The signature of a text; none where it has too few words.
    pub fn signature(&mut self, text: &str) -> Option<&[u64]> {
        simplify(text, &mut self.spaced, &mut self.simple);
        self.join_words();
        if self.places.len() < self.words {
            return None;
        }
        self.signature.fill(u64::MAX);
        for run in self.places.windows(self.words) {
            let shingle = self.hash.of(&self.joined[run[0].0..run[self.words - 1].1]);
            least(&mut self.signature, shingle, &self.factors, &self.summands);
        }
        Some(&self.signature)
    }

    /// Writes the words of the simplified text with one space between them, and where each of them stands.
    fn join_words(&mut self) {
        let (joined, places, simple) = (&mut self.joined, &mut self.places, &self.simple);
        joined.clear();
        places.clear();
        words::each(simple, &mut self.chunks, |start, end| {
            if !joined.is_empty() {
                joined.push(' ');
            }
            let at = joined.len();
            joined.push_str(&simple[start..end]);
            places.push((at, joined.len()));
        });
    }

    /// Appends a hash of each bucket of a text's signature.
    pub(super) fn sketch(&mut self, text: &str, sketch: &mut Vec<u8>) {
        let Some(signature) = self.signature(text) else {
            sketch.resize(sketch.len() + 1 + 8 * BUCKETS, NOTHING);
            return;
        };
        sketch.push(SPACED);
        for bucket in signature.chunks_exact(ROWS) {
            let mut bytes = [0; 8 * ROWS];
            for (to, number) in bytes.as_chunks_mut().0.iter_mut().zip(bucket) {
                *to = number.to_le_bytes();
            }
            sketch.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
        }
    }
}

/// Each function's value of a shingle, where it is less than what there was.
#[inline]
fn least(signature: &mut [u64; FUNCTIONS], shingle: u64, factors: &[u64; FUNCTIONS], summands: &[u64; FUNCTIONS]) {
    for ((number, factor), summand) in signature.iter_mut().zip(factors).zip(summands) {
        let sum = shingle.wrapping_mul(*factor).wrapping_add(*summand);
        let folded = (sum & PRIME) + (sum >> 61);
        *number = (*number).min(if folded >= PRIME { folded - PRIME } else { folded });
    }
}

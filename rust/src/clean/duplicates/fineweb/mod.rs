//! `FineWeb`'s `MinHash` as datatrove computes it: the same 112 numbers of a text, to the bit, where words are cut alike.
//!
//! Shingles are five words of the simplified text. The 112 functions are x·a + b modulo 2^61 - 1, of a product that
//! wraps at 2^64 before: not what the books call universal, but what made `FineWeb`. A text of fewer than five words has
//! no shingle and is nobody's duplicate.

mod functions;
mod mersenne;
mod simplify;

use sha1::{Digest, Sha1};
use xxhash_rust::xxh3::xxh3_64;
use xxhash_rust::xxh64::xxh64;

pub use self::functions::parameters;
use self::functions::{Functions, Numbers, BUCKETS, ROWS};
pub use self::simplify::simplify;
use super::sketcher::{NOTHING, SPACED};
use crate::clean::words;
use crate::error::{Error, Result};

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

/// Makes signatures; one a thread.
pub struct FineWeb {
    hash: Hash,
    words: usize,
    functions: Functions,
    shingles: Vec<u64>,
    signature: Numbers,
    spaced: String,
    simple: String,
    joined: String,
    places: Vec<(usize, usize)>,
    chunks: words::Chunks,
}

impl FineWeb {
    pub fn new(hash: Hash, words: Option<usize>) -> Self {
        Self {
            hash,
            words: words.unwrap_or(WORDS),
            functions: Functions::new(),
            shingles: Vec::new(),
            signature: [0; BUCKETS * ROWS],
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
        self.shingles.clear();
        let runs = self.places.windows(self.words);
        self.shingles.extend(runs.map(|run| self.hash.of(&self.joined[run[0].0..run[self.words - 1].1])));
        self.functions.least(&self.shingles, &mut self.signature);
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

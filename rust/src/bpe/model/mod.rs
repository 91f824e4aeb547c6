//! A vocabulary compiled for merging: tokens renumbered so that bytes are themselves and the others follow in the order
//! in which merges make them. Here is what it holds; `vocab::compile` makes it.

pub mod longest_prefix;
pub mod pair_ranks;
pub mod token_borders;

use std::collections::HashMap;

use crate::memory::mapped_slice::MappedSlice;
use pair_ranks::PairRanks;

pub struct Model {
    /// (left, right) → rank, in the inner numbering.
    pub pairs: PairRanks,
    /// Rank of each pair of bytes, `u32::MAX` where they do not merge.
    pub byte_pairs: MappedSlice<u32>,
    /// The token that each rank makes.
    pub results: MappedSlice<u32>,
    /// Ids by inner number.
    pub ids: MappedSlice<u32>,
    /// The two parts that each rank joins, after those of the 256 bytes, which are two times themselves. In a regular
    /// vocabulary these are the parts of each inner token.
    pub splits: MappedSlice<[u32; 2]>,
    /// How many bytes each inner token has.
    pub lengths: MappedSlice<u32>,
    /// Every token that merges make has one merge, of parts of lower rank, and its own bytes encode to it. Then two
    /// adjacent tokens can be checked alone, and the inner number of a merge's token is 256 plus its rank.
    pub regular: bool,
    /// Tokens that merges do not make out of their bytes, where a pre-token that is a token is that token.
    pub whole: HashMap<Box<[u8]>, u32>,
}

impl Model {
    /// The token that a rank makes.
    #[inline(always)]
    pub fn result(&self, rank: u32) -> u32 {
        if self.regular {
            rank + 256
        } else {
            self.results[rank as usize]
        }
    }

    #[inline(always)]
    pub fn length(&self, token: u32) -> usize {
        self.lengths[token as usize] as usize
    }
}

//! A vocabulary compiled for merging: tokens renumbered so that bytes are themselves and the others follow in the order
//! in which merges make them.

use std::collections::HashMap;

use super::alphabet;
use super::merge::{merge, merge_few, Parts, FEW};
use super::pairs::{PairTable, Pairs};
use crate::error::{Error, Result};
use crate::memory::mapped_slice::MappedSlice;

pub struct Model {
    /// (left, right) → rank, in the inner numbering.
    pub pairs: PairTable,
    /// Rank of each pair of bytes, `u32::MAX` where they do not merge.
    pub byte_pairs: MappedSlice<u32>,
    /// The token that each rank makes.
    pub results: MappedSlice<u32>,
    /// Ids by inner number.
    pub ids: MappedSlice<u32>,
    /// The two parts of each inner token; a byte is two times itself.
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
    pub fn new(
        tokens: &[Vec<u8>],
        merges: &[(u32, u32)],
        results: &[u32],
        specials: &[(String, u32)],
        whole_first: bool,
    ) -> Result<Self> {
        let mut numbering = Numbering::new(tokens, specials)?;
        let mut pairs = Pairs::with_capacity(merges.len());
        let mut ranks_to = Vec::with_capacity(merges.len());
        let mut splits: Vec<[u32; 2]> = (0..256).map(|byte| [byte, byte]).collect();
        let mut regular = true;
        for (rank, (&(left, right), &result)) in merges.iter().zip(results).enumerate() {
            // a merge of tokens that only later ones make is legal, but not regular
            regular &= [left, right].iter().all(|&id| numbering.find(id).is_some()) && numbering.find(result).is_none();
            ranks_to.push(numbering.add(result));
            let pair = (numbering.add(left), numbering.add(right));
            if pairs.get(pair.0, pair.1).is_some() {
                let name = |id: u32| alphabet::to_printable(&tokens[id as usize]);
                return Err(Error::tokenizer(format!(
                    "merge {rank}, of {} and {}, is given twice",
                    name(left),
                    name(right)
                ))
                .hint("each pair of tokens has one rank"));
            }
            pairs.insert(pair.0, pair.1, rank as u32);
            splits.push([pair.0, pair.1]);
        }
        let byte_pairs = (0..1 << 16).map(|pair| pairs.get(pair >> 8, pair & 255).unwrap_or(u32::MAX)).collect();
        let mut model = Self {
            pairs: pairs.into(),
            byte_pairs,
            results: ranks_to.into(),
            lengths: numbering.ids.iter().map(|&id| tokens[id as usize].len() as u32).collect(),
            ids: numbering.ids.into(),
            splits: splits.into(),
            regular,
            whole: HashMap::new(),
        };
        let mut parts = Parts::default();
        model.regular = regular && (256..model.ids.len() as u32).all(|token| model.makes(tokens, token, &mut parts));
        if whole_first {
            model.find_whole(tokens, specials, &mut parts);
        }
        Ok(model)
    }

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

    /// Whether the bytes of an inner token encode to it.
    pub fn makes(&self, tokens: &[Vec<u8>], token: u32, parts: &mut Parts) -> bool {
        let bytes = &tokens[self.ids[token as usize] as usize];
        if bytes.len() <= FEW {
            let mut out = [0; FEW];
            return merge_few(self, bytes, &mut out) == 1 && out[0] == token;
        }
        merge(self, bytes, parts);
        parts.tokens().eq([token])
    }

    fn find_whole(&mut self, tokens: &[Vec<u8>], specials: &[(String, u32)], parts: &mut Parts) {
        let mut alone = vec![false; tokens.len()];
        for special in specials {
            alone[special.1 as usize] = true;
        }
        for token in 0..self.ids.len() as u32 {
            alone[self.ids[token as usize] as usize] = self.regular || self.makes(tokens, token, parts);
        }
        for (id, token) in (0_u32..).zip(tokens) {
            if !alone[id as usize] && !token.is_empty() {
                self.whole.insert(token.as_slice().into(), id);
            }
        }
    }
}

/// Inner numbers, given out in the order in which merges name tokens.
struct Numbering {
    ids: Vec<u32>,
    inner: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Numbering {
    fn new(tokens: &[Vec<u8>], specials: &[(String, u32)]) -> Result<Self> {
        let mut ids = vec![NONE; 256];
        let special: std::collections::HashSet<u32> = specials.iter().map(|special| special.1).collect();
        for (id, token) in (0_u32..).zip(tokens) {
            if let ([byte], false) = (token.as_slice(), special.contains(&id)) {
                ids[*byte as usize] = id;
            }
        }
        if let Some(byte) = ids.iter().position(|&id| id == NONE) {
            return Err(Error::tokenizer(format!(
                "the vocabulary has no token for byte 0x{byte:02x} ({})",
                alphabet::to_printable(&[byte as u8])
            ))
            .hint("a byte-level vocabulary holds all 256 bytes; train with the whole byte alphabet"));
        }
        let mut inner = vec![NONE; tokens.len()];
        for (byte, &id) in ids.iter().enumerate() {
            inner[id as usize] = byte as u32;
        }
        Ok(Self { ids, inner })
    }

    fn find(&self, id: u32) -> Option<u32> {
        Some(self.inner[id as usize]).filter(|&inner| inner != NONE)
    }

    fn add(&mut self, id: u32) -> u32 {
        self.find(id).unwrap_or_else(|| {
            self.ids.push(id);
            self.inner[id as usize] = self.ids.len() as u32 - 1;
            self.ids.len() as u32 - 1
        })
    }
}

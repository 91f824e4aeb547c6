//! A vocabulary made ready for merging: inner numbers given out, ranks put into tables, and a check of whether every
//! token is what merging makes of its own bytes.

use std::collections::HashMap;

use crate::bpe::alphabet;
use crate::bpe::merge::by_rank::{merge, Parts};
use crate::bpe::merge::lockstep::{merge_all, padded, FEW};
use crate::bpe::model::pair_ranks::PairRanksBuilder;
use crate::bpe::model::Model;
use crate::error::{Error, Result};

impl Model {
    pub fn new(
        tokens: &[Vec<u8>],
        merges: &[(u32, u32)],
        results: &[u32],
        specials: &[(String, u32)],
        whole_first: bool,
    ) -> Result<Self> {
        let mut numbering = Numbering::new(tokens, specials)?;
        let mut pairs = PairRanksBuilder::with_capacity(merges.len());
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
        let alone = model.made_of_own_bytes(tokens);
        model.regular = regular && alone[256..].iter().all(|&alone| alone);
        if whole_first {
            model.find_whole(tokens, specials, &alone);
        }
        Ok(model)
    }

    /// Of each inner token, whether merging its own bytes makes it.
    fn made_of_own_bytes(&self, tokens: &[Vec<u8>]) -> Vec<bool> {
        let bytes = |inner: usize| tokens[self.ids[inner] as usize].as_slice();
        let (short, long): (Vec<usize>, Vec<usize>) =
            (0..self.ids.len()).partition(|&inner| (1..=FEW).contains(&bytes(inner).len()));
        let mut alone = vec![false; self.ids.len()];
        merge_all::<FEW>(self, short.iter().map(|&inner| padded(bytes(inner))), |number, merged| {
            alone[short[number]] = merged.parts().eq([short[number] as u32]);
        });
        let mut parts = Parts::default();
        for inner in long {
            merge(self, bytes(inner), &mut parts);
            alone[inner] = parts.tokens().eq([inner as u32]);
        }
        alone
    }

    fn find_whole(&mut self, tokens: &[Vec<u8>], specials: &[(String, u32)], made: &[bool]) {
        let mut alone = vec![false; tokens.len()];
        for special in specials {
            alone[special.1 as usize] = true;
        }
        for (&id, &made) in self.ids.iter().zip(made) {
            alone[id as usize] = self.regular || made;
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

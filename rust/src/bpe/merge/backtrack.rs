//! A pre-token of any length in linear time, a token at a time: the longest token first, taken back where merging would
//! have gone another way.
//!
//! Whether two tokens may stand side by side can be told from the two alone (see the lemma in `merge`). So the encoder
//! tries at each place the longest token that stands with the one before it, then shorter ones, and where none does it
//! gives up the one before. A place given up is marked and never tried again, which bounds the work.

use crate::bpe::model::longest_prefix::Prefixes;
use crate::bpe::model::Model;

/// Neighbours judged before: an eighth of a megabyte would fall out of the cache that the rest works in.
const JUDGED: usize = 1 << 12;

/// Kept between calls.
pub struct Backtracker {
    tokens: Vec<u32>,
    /// A bit for each place at which no row of tokens can end.
    dead: Vec<u64>,
    judged: Box<[u64]>,
}

impl Default for Backtracker {
    fn default() -> Self {
        Self { tokens: Vec::new(), dead: Vec::new(), judged: vec![u64::MAX; JUDGED].into_boxed_slice() }
    }
}

impl Backtracker {
    /// The inner tokens of `pre_token`, which is not empty; `model` is regular.
    pub fn encode(&mut self, model: &Model, prefixes: &Prefixes, pre_token: &[u8]) -> &[u32] {
        let Self { tokens, dead, judged } = self;
        tokens.clear();
        dead.clear();
        dead.resize(pre_token.len() / 64 + 1, 0);
        let mut at = 0;
        let mut token = prefixes.longest(model, pre_token);
        loop {
            let end = at + model.length(token);
            let fits = dead[end / 64] >> (end % 64) & 1 == 0
                && tokens.last().is_none_or(|&last| stands(model, judged, last, token));
            if fits {
                tokens.push(token);
                at = end;
                if at == pre_token.len() {
                    return tokens;
                }
                token = prefixes.longest(model, &pre_token[at..]);
            } else if let Some(shorter) = prefixes.shorter(token) {
                token = shorter;
            } else {
                dead[at / 64] |= 1 << (at % 64);
                token = tokens.pop().expect("bytes alone always stand");
                at -= model.length(token);
            }
        }
    }
}

/// Whether merging leaves these two side by side, looked up where it was asked before.
#[inline]
fn stands(model: &Model, judged: &mut [u64], left: u32, right: u32) -> bool {
    let key = u64::from(left) << 32 | u64::from(right);
    let seen = &mut judged[(key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - JUDGED.trailing_zeros())) as usize];
    if *seen >> 1 != key {
        *seen = key << 1 | u64::from(judge(model, left, right));
    }
    *seen & 1 == 1
}

/// Takes the merges along the border back, the latest first, and asks each time whether the two tokens that then touch
/// would have merged before.
fn judge(model: &Model, mut left: u32, mut right: u32) -> bool {
    // Tokens are numbered by rank, so the number of what a pair makes tells when it merges.
    let mut until = u32::MAX;
    loop {
        if let Some(rank) = model.pairs.get(left, right) {
            if rank + 256 < until {
                return false;
            }
        }
        // Of equal rank the left merge came first: undone last, and the border may still merge at that very rank
        // before the right one.
        if left.max(right) < 256 {
            return true;
        }
        if left > right {
            until = left;
            left = model.splits[left as usize][1];
        } else {
            until = right + 1;
            right = model.splits[right as usize][0];
        }
    }
}

//! A pre-token that repeats itself from its beginning on: a megabyte of one letter.
//!
//! Its tokens repeat themselves too. Between two places with the same token before them lies a row of tokens that may
//! stand once more after itself, for every two neighbours then stand side by side already. In a regular vocabulary that
//! makes the longer row what merging makes of the longer pre-token (by the lemma in `merge`). So a pre-token is encoded
//! without most of its repetitions, and its tokens are repeated instead.

use super::backtrack::Backtracker;
use crate::bpe::model::longest_prefix::Prefixes;
use crate::bpe::model::Model;
use crate::id::Id;

/// Longest period that is looked for.
const LONGEST: usize = 64;
/// Bytes whose tokens are searched for a cycle: several tokens of the longest kind.
const HEAD: usize = 2048;
/// What is left of the repetitions, so that the cycle is not near the pre-token's end.
const KEPT: usize = 2 * HEAD;
/// What must repeat to be worth the search.
pub const LEAST: usize = 4 * HEAD;

/// What may be left out of a pre-token: its first `bytes` bytes, for which a row of tokens of the rest's is repeated.
#[derive(Debug)]
pub struct Repetition {
    pub bytes: usize,
    /// Inner tokens that the pre-token begins with, up to the end of the row.
    head: Vec<u32>,
    /// Where the row begins among them.
    first: usize,
    times: usize,
}

impl Repetition {
    /// None where the pre-token does not repeat itself for long enough. `model` is regular.
    pub fn find(model: &Model, prefixes: &Prefixes, backtracker: &mut Backtracker, pre_token: &[u8]) -> Option<Self> {
        if pre_token.len() < LEAST {
            return None;
        }
        let period = (1..=LONGEST).find(|&period| pre_token[period..HEAD] == pre_token[..HEAD - period])?;
        let extent = period + common(pre_token, &pre_token[period..]);
        if extent < LEAST {
            return None;
        }
        let mut head = backtracker.encode(model, prefixes, &pre_token[..HEAD]).to_vec();
        let ends = head.iter().scan(0, |end, &token| {
            *end += model.length(token);
            Some(*end)
        });
        // away from the end, which other bytes follow in the pre-token
        let inner: Vec<(usize, usize)> =
            ends.enumerate().filter(|(_, end)| (HEAD / 4..3 * HEAD / 4).contains(end)).collect();
        let &(first, begin) = inner.first()?;
        let again = |&&(number, end): &&(usize, usize)| {
            end > begin && (end - begin).is_multiple_of(period) && head[number] == head[first]
        };
        let &(last, end) = inner.iter().find(again)?;
        let times = (extent - KEPT) / (end - begin);
        head.truncate(last + 1);
        Some(Self { bytes: times * (end - begin), head, first: first + 1, times })
    }

    /// Repeats the row among the `count` ids of the rest at `out`; returns how many there are then, None where the rest
    /// does not begin as the pre-token does.
    ///
    /// # Safety
    /// `out` has room for as many ids as the pre-token has bytes.
    pub unsafe fn repeat<T: Id>(&self, model: &Model, out: *mut T, count: usize) -> Option<usize> {
        let (first, last) = (self.first, self.head.len());
        let id = |token: &u32| model.ids[*token as usize];
        // SAFETY: `count` ids were written
        let rest = unsafe { std::slice::from_raw_parts(out, count) };
        if count < last || !self.head.iter().map(id).eq(rest[..last].iter().map(|id| id.to_u32())) {
            return None;
        }
        let more = (last - first) * self.times;
        // SAFETY: all of it are the pre-token's ids, of which there are no more than bytes
        unsafe {
            std::ptr::copy(out.add(first), out.add(first + more), count - first);
            let mut done = 0;
            while done < more {
                let step = (last - first).max(done).min(more - done);
                std::ptr::copy(out.add(if done == 0 { first + more } else { first }), out.add(first + done), step);
                done += step;
            }
        }
        Some(count + more)
    }
}

/// How many bytes both begin with.
fn common(left: &[u8], right: &[u8]) -> usize {
    const BLOCK: usize = 256;
    let blocks = left.chunks_exact(BLOCK).zip(right.chunks_exact(BLOCK));
    let equal = BLOCK * blocks.take_while(|(left, right)| left == right).count();
    equal + left[equal..].iter().zip(&right[equal..]).take_while(|(left, right)| left == right).count()
}

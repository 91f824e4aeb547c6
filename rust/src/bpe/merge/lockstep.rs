//! Merging many pre-tokens at once. Each merge asks a table that does not fit the second-level cache for ranks, and a
//! look-up that has to come from memory takes as long as a hundred of a merge's own instructions: while one pre-token's
//! is on its way, the others go on.

use crate::bpe::model::pair_ranks::NONE;
use crate::bpe::model::Model;

/// Pre-tokens on their way together: short ones' states are 3 KB, their look-ups twice as many lines as a core fetches
/// at once.
const TOGETHER: usize = 16;

/// Bytes of the longest of short pre-tokens, and of the longest that are merged here at all.
pub const FEW: usize = 16;
pub const MANY: usize = 64;

/// A pre-token of at most `N` bytes, 16 or 64, that is being merged.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct LockstepMerge<const N: usize> {
    /// Rank and place of each merge that a part and its right neighbour could make, so that the least is the leftmost
    /// of the lowest.
    keys: [u32; N],
    /// The part that begins at each byte, where one does.
    pub tokens: [u32; N],
    /// A bit for each byte at which a part begins.
    pub left: u64,
    /// The part that the last merge made, and the parts beside it. Where there is none before, a place without a part.
    made: u32,
    before: u32,
    after: u32,
    /// Where the ranks of their merges lie: the empty line where there is no part to merge with.
    before_line: usize,
    after_line: usize,
}

/// The first `size` bytes of an array.
pub type Padded<const N: usize> = ([u8; N], usize);

#[inline(always)]
pub fn padded<const N: usize>(pre_token: &[u8]) -> Padded<N> {
    let mut bytes = [0; N];
    bytes[..pre_token.len()].copy_from_slice(pre_token);
    (bytes, pre_token.len())
}

/// Merges `pre_tokens`, of at least one byte, and calls `done` with the number of each, in any order, and what is left.
#[inline(always)]
pub fn merge_all<const N: usize>(
    model: &Model,
    pre_tokens: impl Iterator<Item = Padded<N>>,
    mut done: impl FnMut(usize, &LockstepMerge<N>),
) {
    let mut pre_tokens = pre_tokens.enumerate();
    let mut going = [LockstepMerge::<N>::EMPTY; TOGETHER];
    let mut numbers = [0; TOGETHER];
    let mut count = 0;
    while let Some((number, pre_token)) = (count < TOGETHER).then(|| pre_tokens.next()).flatten() {
        going[count].begin(model, &pre_token);
        numbers[count] = number;
        count += 1;
    }
    while count > 0 {
        let mut at = 0;
        while at < count {
            if going[at].step(model) {
                at += 1;
                continue;
            }
            done(numbers[at], &going[at]);
            if let Some((number, pre_token)) = pre_tokens.next() {
                going[at].begin(model, &pre_token);
                numbers[at] = number;
                at += 1;
            } else {
                count -= 1;
                going[at] = going[count];
                numbers[at] = numbers[count];
            }
        }
    }
}

impl<const N: usize> LockstepMerge<N> {
    const EMPTY: Self =
        Self { keys: [NONE; N], tokens: [0; N], left: 0, made: 0, before: 0, after: 0, before_line: 0, after_line: 0 };
    const PLACE_BITS: u32 = N.trailing_zeros();

    /// The parts that are left, in order.
    #[inline(always)]
    pub fn parts(&self) -> impl Iterator<Item = u32> + '_ {
        let mut left = self.left;
        std::iter::from_fn(move || {
            let at = left.trailing_zeros() as usize;
            left &= left.wrapping_sub(1);
            (at < 64).then(|| self.tokens[at % N])
        })
    }

    #[inline(always)]
    fn begin(&mut self, model: &Model, (bytes, size): &Padded<N>) {
        debug_assert!((1..=N).contains(size));
        self.keys = [NONE; N];
        self.left = u64::MAX >> (64 - size);
        // the last part merges with nothing
        (self.made, self.before, self.after) = (*size as u32 - 1, *size as u32 - 1, 0);
        self.before_line = model.pairs.line(0, 0, false);
        self.after_line = self.before_line;
        for (token, &byte) in self.tokens.iter_mut().zip(bytes) {
            *token = byte.into();
        }
        for (at, (pair, key)) in bytes[..*size].windows(2).zip(&mut self.keys).enumerate() {
            let rank = model.byte_pairs[usize::from(pair[0]) << 8 | usize::from(pair[1])];
            *key = if rank == NONE { NONE } else { rank << Self::PLACE_BITS | at as u32 };
        }
    }

    #[inline(always)]
    fn key(rank: u32, at: u32) -> u32 {
        let none = if rank == NONE { NONE } else { 0 };
        rank << Self::PLACE_BITS | at | none
    }

    /// One merge; false where none is left. The ranks beside what it makes are fetched, and read by the next step. What
    /// happens depends on the text alone, so that no branch could be guessed: there is none but the last.
    #[inline(always)]
    fn step(&mut self, model: &Model) -> bool {
        let token = |place: u32| self.tokens[place as usize % N];
        // SAFETY: `begin` and the step before asked this table for the lines
        let with_after = unsafe { model.pairs.rank_in(self.after_line, token(self.made), token(self.after)) };
        // SAFETY: they asked it for both
        let with_before = unsafe { model.pairs.rank_in(self.before_line, token(self.before), token(self.made)) };
        let (after_key, before_key) = (Self::key(with_after, self.made), Self::key(with_before, self.before));
        // both have no key yet, and get theirs once all were read: vectors that are read over fresh stores wait for them
        let mut least = after_key.min(before_key);
        for &key in &self.keys {
            least = least.min(key);
        }
        self.keys[self.made as usize % N] = after_key;
        self.keys[self.before as usize % N] = before_key;
        if least == NONE {
            return false;
        }
        let at = least % N as u32;
        let made = model.result(least >> Self::PLACE_BITS);
        let after = self.left & !((2_u64 << at) - 1);
        let next = after.trailing_zeros();
        let after = after & (after - 1);
        let before = self.left & ((1 << at) - 1);
        self.left &= !(1 << next);
        self.made = at;
        self.after = after.trailing_zeros() % N as u32;
        self.before = if before == 0 { next } else { (before | 1).ilog2() };
        self.tokens[at as usize] = made;
        for place in [next, at, self.before] {
            self.keys[place as usize % N] = NONE;
        }
        let token = |place: u32| self.tokens[place as usize % N];
        self.after_line = model.pairs.line(made, token(self.after), after != 0);
        self.before_line = model.pairs.line(token(self.before), made, before != 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpe::merge::by_rank::{merge, Parts};
    use crate::bpe::Vocab;
    use crate::pattern::Pattern;

    #[test]
    fn pre_tokens_of_any_length_merge_as_one_alone_does() {
        let order = |byte: u8| u32::from(crate::bpe::alphabet::ORDER[usize::from(byte)]);
        let (a, b, c) = (order(b'a'), order(b'b'), order(b'c'));
        let merges = vec![(a, b), (b, a), (256, c), (256, 257), (a, a), (260, 260), (258, 256), (261, a), (c, 259)];
        let vocab = Vocab::from_merges(merges, Vec::new(), Pattern::new("gpt2").unwrap()).unwrap();
        let model = &vocab.model;
        let mut state = 5_u64;
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let pre_tokens: Vec<Vec<u8>> =
            (0..600).map(|round| (0..=round % MANY).map(|_| b"aaabbc"[draw(6) as usize]).collect()).collect();
        let expected = |pre_token: &[u8]| {
            let mut parts = Parts::default();
            merge(model, pre_token, &mut parts);
            parts.tokens().collect::<Vec<_>>()
        };
        let mut seen = 0;
        merge_all::<MANY>(model, pre_tokens.iter().map(|pre_token| padded(pre_token)), |number, merged| {
            assert_eq!(merged.parts().collect::<Vec<_>>(), expected(&pre_tokens[number]));
            let starts: Vec<usize> = (0..64).filter(|at| merged.left >> at & 1 == 1).collect();
            let lengths = merged.parts().scan(0, |at, part| Some(std::mem::replace(at, *at + model.length(part))));
            assert_eq!(starts, lengths.collect::<Vec<_>>());
            seen += 1;
        });
        let short: Vec<&[u8]> =
            pre_tokens.iter().map(Vec::as_slice).filter(|pre_token| pre_token.len() <= FEW).collect();
        merge_all::<FEW>(model, short.iter().map(|pre_token| padded(pre_token)), |number, merged| {
            assert_eq!(merged.parts().collect::<Vec<_>>(), expected(short[number]));
            seen += 1;
        });
        assert_eq!(seen, pre_tokens.len() + short.len());
    }
}

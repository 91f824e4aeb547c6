//! Merging by rank: the lowest rank first, the leftmost of equals, until no pair is left. Short pieces are searched
//! anew after each merge, long ones keep their pairs in a heap, so that n bytes cost n log n.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::model::Model;

/// Above this a heap wins over searching: a search of 64 ranks costs less than two steps of a heap.
const SHORT: usize = 64;
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Part {
    token: u32,
    /// Rank of the merge with the next part.
    rank: u32,
    previous: u32,
    next: u32,
}

/// The parts of one piece, kept between calls so that merging never allocates.
#[derive(Default)]
pub struct Parts {
    parts: Vec<Part>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Parts {
    /// The tokens after [`merge`].
    pub fn tokens(&self) -> impl Iterator<Item = u32> + '_ {
        let mut at = if self.parts.is_empty() { NONE } else { 0 };
        std::iter::from_fn(move || {
            let part = self.parts.get(at as usize)?;
            at = part.next;
            Some(part.token)
        })
    }
}

/// Bytes that [`merge_few`] takes.
pub const FEW: usize = 16;

/// Encodes a piece of up to 16 bytes into inner tokens; returns how many. Everything it works on but the ranks lies in
/// registers and one cache line: half of all new words come here, and a heap or a list costs more than their merges.
pub fn merge_few(model: &Model, piece: &[u8], out: &mut [u32; FEW]) -> usize {
    let size = piece.len();
    debug_assert!((1..=FEW).contains(&size));
    let mut tokens = [0_u32; FEW];
    // rank and place, so that the least is the leftmost of the lowest
    let mut keys = [NONE; FEW];
    for at in 0..size {
        tokens[at] = piece[at].into();
    }
    for at in 0..size - 1 {
        keys[at] = few_key(model.byte_pairs[usize::from(piece[at]) << 8 | usize::from(piece[at + 1])], at);
    }
    // a bit for each part that is left
    let mut left = (1_u32 << size) - 1;
    loop {
        let mut least = NONE;
        for &key in &keys {
            least = least.min(key);
        }
        if least == NONE {
            break;
        }
        let at = least as usize % FEW;
        let rank = least >> 4;
        let after = left & !((2_u32 << at) - 1);
        let next = after.trailing_zeros() as usize % FEW;
        let after = after & (after - 1);
        let token = model.result(rank);
        left &= !(1 << next);
        tokens[at] = token;
        keys[next] = NONE;
        keys[at] = NONE;
        if after != 0 {
            let right = tokens[after.trailing_zeros() as usize % FEW];
            keys[at] = few_key(model.pairs.get(token, right).unwrap_or(NONE), at);
        }
        let before = left & ((1 << at) - 1);
        if before != 0 {
            let place = 31 - before.leading_zeros() as usize;
            keys[place % FEW] = few_key(model.pairs.get(tokens[place % FEW], token).unwrap_or(NONE), place);
        }
    }
    let mut count = 0;
    while left != 0 {
        out[count] = tokens[left.trailing_zeros() as usize % FEW];
        count += 1;
        left &= left - 1;
    }
    count
}

#[inline(always)]
fn few_key(rank: u32, at: usize) -> u32 {
    if rank == NONE {
        NONE
    } else {
        rank << 4 | at as u32
    }
}

/// Encodes a piece into inner tokens, left in `parts`.
pub fn merge(model: &Model, piece: &[u8], parts: &mut Parts) {
    let Parts { parts, heap } = parts;
    parts.clear();
    let rank = |left: u32, right: u32| model.pairs.get(left, right).unwrap_or(NONE);
    for (at, &byte) in piece.iter().enumerate() {
        let next = if at + 1 < piece.len() { at as u32 + 1 } else { NONE };
        let with_next = if next == NONE { NONE } else { rank(u32::from(byte), u32::from(piece[at + 1])) };
        parts.push(Part { token: u32::from(byte), rank: with_next, previous: (at as u32).wrapping_sub(1), next });
    }
    if piece.len() <= SHORT {
        merge_short(model, parts);
    } else {
        merge_long(model, parts, heap);
    }
}

/// Joins the part at `at` with the next one; returns the place of the part before, if any.
fn join(model: &Model, parts: &mut [Part], at: u32) -> u32 {
    let Part { rank, next, previous, .. } = parts[at as usize];
    let after = parts[next as usize].next;
    let token = model.results[rank as usize];
    parts[next as usize].rank = NONE;
    parts[next as usize].token = NONE;
    let with_next = if after == NONE {
        NONE
    } else {
        parts[after as usize].previous = at;
        model.pairs.get(token, parts[after as usize].token).unwrap_or(NONE)
    };
    parts[at as usize] = Part { token, rank: with_next, previous, next: after };
    if previous != NONE {
        let left = &mut parts[previous as usize];
        left.rank = model.pairs.get(left.token, token).unwrap_or(NONE);
    }
    previous
}

fn merge_short(model: &Model, parts: &mut [Part]) {
    loop {
        let mut best = (NONE, 0);
        for (at, part) in parts.iter().enumerate() {
            if part.rank < best.0 {
                best = (part.rank, at as u32);
            }
        }
        if best.0 == NONE {
            return;
        }
        join(model, parts, best.1);
    }
}

fn merge_long(model: &Model, parts: &mut [Part], heap: &mut BinaryHeap<Reverse<(u32, u32)>>) {
    heap.clear();
    heap.extend(
        (0_u32..).zip(parts.iter()).filter(|(_, part)| part.rank != NONE).map(|(at, part)| Reverse((part.rank, at))),
    );
    while let Some(Reverse((rank, at))) = heap.pop() {
        if parts[at as usize].rank != rank {
            continue; // a merge beside it has changed this pair since
        }
        let previous = join(model, parts, at);
        for place in [previous, at] {
            if place != NONE && parts[place as usize].rank != NONE {
                heap.push(Reverse((parts[place as usize].rank, place)));
            }
        }
    }
}

//! Merging by rank: the lowest rank first, the leftmost of equals, until no pair is left. Short pre-tokens are searched
//! anew after each merge, long ones keep their pairs in a heap, so that n bytes cost n log n.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bpe::model::Model;

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

/// The parts of one pre-token, kept between calls so that merging never allocates.
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

/// Encodes a pre-token into inner tokens, left in `parts`.
pub fn merge(model: &Model, pre_token: &[u8], parts: &mut Parts) {
    let Parts { parts, heap } = parts;
    parts.clear();
    let rank = |left: u32, right: u32| model.pairs.get(left, right).unwrap_or(NONE);
    for (at, &byte) in pre_token.iter().enumerate() {
        let next = if at + 1 < pre_token.len() { at as u32 + 1 } else { NONE };
        let with_next = if next == NONE { NONE } else { rank(u32::from(byte), u32::from(pre_token[at + 1])) };
        parts.push(Part { token: u32::from(byte), rank: with_next, previous: (at as u32).wrapping_sub(1), next });
    }
    if pre_token.len() <= SHORT {
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

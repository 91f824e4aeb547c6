//! All pairs of the words as they are, counted; those worth it are listed.

use super::crew::{each_of, Crew};
use super::keep::{Keep, Tokens};
use super::occurrences::WordShare;
use super::pair_counts::{pair, Entry, PairCounts};
use crate::id::Id;

/// Compacts the words, and counts and lists the pairs to keep: those that `keep` wants, or the most frequent of them
/// where all would not fit into `room` occurrences, and `keep` is raised to these.
pub(super) fn recount<S: Id>(
    crew: &Crew,
    shares: &mut [WordShare<S>],
    tokens: &mut Tokens,
    keep: &mut Keep,
    room: usize,
) -> PairCounts {
    each_of(crew, shares, |_, share| {
        share.forget_lists();
        share.compact(&tokens.slots);
    });
    tokens.slots.fill(1);
    if tokens.len() == 256 {
        bytes(crew, shares, tokens, keep, room)
    } else {
        any(shares, tokens, keep, room)
    }
}

/// While there are only bytes, a pair is a place in a table.
fn bytes<S: Id>(crew: &Crew, shares: &mut [WordShare<S>], tokens: &Tokens, keep: &mut Keep, room: usize) -> PairCounts {
    const PLACES: usize = 1 << 16;
    let place = |left: u32, right: u32| (left << 8 | right) as usize;
    /// Weight and number of the occurrences of each pair in a share.
    type Found = Vec<(u64, u32)>;
    let mut work: Vec<(&mut WordShare<S>, Found)> =
        shares.iter_mut().map(|share| (share, vec![(0, 0); PLACES])).collect();
    each_of(crew, &mut work, |_, (share, found)| {
        share.each_pair(|left, right, _, weight| {
            let (sum, count) = &mut found[place(left, right)];
            *sum += weight;
            *count += 1;
        });
    });
    let key_at = |at: usize| pair(at as u32 >> 8, at as u32 & 0xff);
    let total = |at: usize| -> (u64, u64) {
        work.iter().fold((0, 0), |sum, (_, found)| (sum.0 + found[at].0, sum.1 + u64::from(found[at].1)))
    };
    let wanted = |at: usize, keep: &Keep| {
        let (weight, _) = total(at);
        weight > 0 && keep.wants(key_at(at), weight) && tokens.may_merge(key_at(at))
    };
    keep.fit((0..PLACES).filter(|&at| wanted(at, keep)).map(total).collect(), room);
    let mut pairs = PairCounts::new();
    let mut index_at = vec![u32::MAX; PLACES];
    for (at, index) in index_at.iter_mut().enumerate() {
        if wanted(at, keep) {
            *index = pairs.add(key_at(at), total(at).0, 0);
        }
    }
    each_of(crew, &mut work, |_, (share, found)| {
        let mut lengths = vec![0; pairs.indices()];
        for (&index, &(_, count)) in index_at.iter().zip(&*found) {
            if index != u32::MAX {
                lengths[index as usize] = count;
            }
        }
        share.fill_lists(&lengths, |left, right| Some(index_at[place(left, right)]).filter(|&index| index != u32::MAX));
    });
    pairs
}

/// Places of the table that says which pairs may be worth a count of their own.
const SKETCH: usize = 1 << 21;

fn any<S: Id>(shares: &mut [WordShare<S>], tokens: &Tokens, keep: &mut Keep, room: usize) -> PairCounts {
    let place = |left: u32, right: u32| {
        let mixed = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 43) as usize
    };
    // many rare pairs are told from a few frequent ones before any is given an entry
    let mut sketch = vec![0u32; SKETCH];
    for share in shares.iter() {
        share.each_pair(|left, right, _, weight| {
            let sum = &mut sketch[place(left, right)];
            *sum = sum.saturating_add(u32::try_from(weight).unwrap_or(u32::MAX));
        });
    }
    let may_be_wanted = |keep: &Keep, left: u32, right: u32| {
        let key = pair(left, right);
        let upper = match sketch[place(left, right)] {
            u32::MAX => u64::MAX,
            sum => u64::from(sum),
        };
        keep.wants(key, upper) && tokens.may_merge(key)
    };
    let mut counted = PairCounts::new();
    for share in shares.iter() {
        share.each_pair(|left, right, _, weight| {
            if may_be_wanted(keep, left, right) {
                counted.add(pair(left, right), weight, 0);
            }
        });
    }
    let lengths: Vec<Vec<u32>> = shares
        .iter()
        .map(|share| {
            let mut lengths = vec![0; counted.indices()];
            share.each_pair(|left, right, _, _| {
                if may_be_wanted(keep, left, right) {
                    if let Some(entry) = counted.get(pair(left, right)) {
                        lengths[entry.index as usize] += 1;
                    }
                }
            });
            lengths
        })
        .collect();
    let occurrences = |entry: &Entry| lengths.iter().map(|of| u64::from(of[entry.index as usize])).sum();
    let wanted = counted.iter().filter(|(key, entry)| keep.wants(*key, entry.count));
    keep.fit(wanted.map(|(_, entry)| (entry.count, occurrences(&entry))).collect(), room);
    let mut pairs = PairCounts::new();
    // which of the counted pairs each kept one is
    let mut from = Vec::new();
    for (key, entry) in counted.iter() {
        if keep.wants(key, entry.count) {
            pairs.add(key, entry.count, 0);
            from.push(entry.index as usize);
        }
    }
    drop(counted);
    for (share, lengths) in shares.iter_mut().zip(lengths) {
        let lengths: Vec<u32> = from.iter().map(|&index| lengths[index]).collect();
        share.fill_lists(&lengths, |left, right| {
            may_be_wanted(keep, left, right).then(|| pairs.get(pair(left, right))).flatten().map(|entry| entry.index)
        });
    }
    pairs
}

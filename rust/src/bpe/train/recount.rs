//! All pairs of the words as they are, counted; those worth it are listed.

use std::ops::Range;

use super::crew::{each_of, Crew, Shares};
use super::keep::{Keep, Tokens};
use super::occurrences::WordShare;
use super::pair_counts::{pair, Entry, PairCounts};
use crate::id::Id;
use crate::memory::huge::Zeroed;

/// Compacts the words, and counts and lists the pairs to keep: those that `keep` wants, or the most frequent of them
/// where all would not fit into `room` occurrences, and `keep` is raised to these. No more than `sketches` threads
/// count roughly at the same time.
pub(super) fn recount<S: Id>(
    crew: &Crew,
    shares: &mut [WordShare<S>],
    tokens: &mut Tokens,
    keep: &mut Keep,
    room: usize,
    sketches: usize,
) -> PairCounts {
    let compact = |share: &mut WordShare<S>| {
        share.forget_lists();
        share.compact(&tokens.slots);
    };
    if let [share] = shares {
        compact(share);
    } else {
        each_of(crew, shares, |_, share| compact(share));
    }
    tokens.slots.fill(1);
    let parts = parts(crew, shares);
    if tokens.len() == 256 {
        bytes(crew, shares, &parts, tokens, keep, room)
    } else {
        any(crew, shares, &parts, tokens, keep, room, sketches)
    }
}

/// What one thread of the crew looks through.
struct Part {
    share: usize,
    stretch: Range<u32>,
}

/// A part for each thread: its share, or a stretch of the one that there is.
fn parts<S: Id>(crew: &Crew, shares: &[WordShare<S>]) -> Vec<Part> {
    let of_share = crew.threads() / shares.len();
    let cut = |(share, words): (usize, &WordShare<S>)| {
        let stretches: Vec<_> = (0..of_share).map(|part| words.stretch(part, of_share)).collect();
        stretches.into_iter().map(move |stretch| Part { share, stretch })
    };
    shares.iter().enumerate().flat_map(cut).collect()
}

/// Lists the pairs that have an index; in each part they have these lengths.
fn list<S: Id>(
    crew: &Crew,
    shares: &mut [WordShare<S>],
    parts: &[Part],
    mut lengths: Vec<Vec<u32>>,
    index: impl Fn(u32, u32) -> Option<u32> + Sync,
) {
    let indices = lengths[0].len();
    let of_share = parts.len() / shares.len();
    // lengths become the places in the arena where each part's occurrences go
    let sums: Vec<Vec<u32>> = lengths
        .chunks_mut(of_share)
        .map(|lengths| {
            let mut next = 0;
            let mut place = |index: usize| {
                let first = next;
                for lengths in &mut *lengths {
                    next += std::mem::replace(&mut lengths[index], next);
                }
                next - first
            };
            (0..indices).map(&mut place).collect()
        })
        .collect();
    let mut arenas: Vec<Vec<u32>> = sums.iter().map(|sums| vec![0; sums.iter().sum::<u32>() as usize]).collect();
    let arena_of: Vec<Shares<u32>> = arenas.iter_mut().map(|arena| Shares::new(arena)).collect();
    each_of(crew, &mut lengths, |part, cursors| {
        let Part { share, stretch } = &parts[part];
        shares[*share].each_pair(stretch.clone(), |left, right, position, _| {
            if let Some(index) = index(left, right) {
                let cursor = &mut cursors[index as usize];
                // SAFETY: so many occurrences were counted in this part, and nobody else has their places
                unsafe { *arena_of[*share].take(*cursor as usize) = position };
                *cursor += 1;
            }
        });
    });
    for ((share, sums), arena) in shares.iter_mut().zip(sums).zip(arenas) {
        share.take_lists(sums.into_iter(), arena);
    }
}

/// While there are only bytes, a pair is a place in a table.
fn bytes<S: Id>(
    crew: &Crew,
    shares: &mut [WordShare<S>],
    parts: &[Part],
    tokens: &Tokens,
    keep: &mut Keep,
    room: usize,
) -> PairCounts {
    const PLACES: usize = 1 << 16;
    let place = |left: u32, right: u32| (left << 8 | right) as usize;
    /// Weight and number of the occurrences of each pair in a part.
    type Found = Vec<(u64, u32)>;
    let mut counted: Vec<Found> = parts.iter().map(|_| vec![(0, 0); PLACES]).collect();
    each_of(crew, &mut counted, |part, found| {
        let Part { share, stretch } = &parts[part];
        shares[*share].each_pair(stretch.clone(), |left, right, _, weight| {
            let (sum, count) = &mut found[place(left, right)];
            *sum += weight;
            *count += 1;
        });
    });
    let key_at = |at: usize| pair(at as u32 >> 8, at as u32 & 0xff);
    let total = |at: usize| -> (u64, u64) {
        counted.iter().fold((0, 0), |sum, found| (sum.0 + found[at].0, sum.1 + u64::from(found[at].1)))
    };
    let wanted = |at: usize, keep: &Keep| {
        let (weight, _) = total(at);
        weight > 0 && keep.wants(key_at(at), weight) && tokens.may_merge(key_at(at))
    };
    keep.fit((0..PLACES).filter(|&at| wanted(at, keep)).map(total).collect(), room);
    let mut pairs = PairCounts::new();
    let mut index_at = vec![u32::MAX; PLACES];
    let mut places = Vec::new();
    for (at, index) in index_at.iter_mut().enumerate() {
        if wanted(at, keep) {
            *index = pairs.add(key_at(at), total(at).0, 0);
            places.push(at);
        }
    }
    let lengths = counted.iter().map(|found| places.iter().map(|&at| found[at].1).collect()).collect();
    list(crew, shares, parts, lengths, |left, right| {
        Some(index_at[place(left, right)]).filter(|&index| index != u32::MAX)
    });
    pairs
}

/// Places of the table that says which pairs may be worth a count of their own.
const SKETCH: usize = 1 << 21;
/// Threads that have such a table of their own, of 8 MB, where nobody limits memory: more would be zeroed and summed
/// for longer than they count.
pub(super) const SKETCHES: usize = 4;

fn any<S: Id>(
    crew: &Crew,
    shares: &mut [WordShare<S>],
    parts: &[Part],
    tokens: &Tokens,
    keep: &mut Keep,
    room: usize,
    most: usize,
) -> PairCounts {
    let place = |left: u32, right: u32| {
        let mixed = (u64::from(left) << 32 | u64::from(right)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 43) as usize
    };
    // many rare pairs are told from a few frequent ones before any is given an entry
    let mut sketches: Vec<Option<Zeroed<u32>>> = parts.iter().map(|_| None).collect();
    each_of(crew, &mut sketches, |number, sketch| {
        if number >= most {
            return;
        }
        let sketch = sketch.insert(Zeroed::new(SKETCH));
        for Part { share, stretch } in parts.iter().skip(number).step_by(most) {
            shares[*share].each_pair(stretch.clone(), |left, right, _, weight| {
                let sum = &mut sketch[place(left, right)];
                *sum = sum.saturating_add(u32::try_from(weight).unwrap_or(u32::MAX));
            });
        }
    });
    let mut sketches = sketches.into_iter().flatten();
    let mut sketch = sketches.next().expect("a crew has a leader");
    for other in sketches {
        sketch.iter_mut().zip(&*other).for_each(|(sum, &more)| *sum = sum.saturating_add(more));
    }
    let may_be_wanted = |keep: &Keep, left: u32, right: u32| {
        let key = pair(left, right);
        let upper = match sketch[place(left, right)] {
            u32::MAX => u64::MAX,
            sum => u64::from(sum),
        };
        keep.wants(key, upper) && tokens.may_merge(key)
    };
    let mut counts: Vec<PairCounts> = parts.iter().map(|_| PairCounts::new()).collect();
    each_of(crew, &mut counts, |part, counted| {
        let Part { share, stretch } = &parts[part];
        shares[*share].each_pair(stretch.clone(), |left, right, _, weight| {
            if may_be_wanted(keep, left, right) {
                counted.add(pair(left, right), weight, 0);
            }
        });
    });
    let mut counts = counts.into_iter();
    let mut counted = counts.next().expect("a crew has a leader");
    for (key, entry) in counts.flat_map(|others| others.iter().collect::<Vec<_>>()) {
        counted.add(key, entry.count, 0);
    }
    let mut lengths: Vec<Vec<u32>> = parts.iter().map(|_| vec![0; counted.indices()]).collect();
    each_of(crew, &mut lengths, |part, lengths| {
        let Part { share, stretch } = &parts[part];
        shares[*share].each_pair(stretch.clone(), |left, right, _, _| {
            if may_be_wanted(keep, left, right) {
                if let Some(entry) = counted.get(pair(left, right)) {
                    lengths[entry.index as usize] += 1;
                }
            }
        });
    });
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
    let lengths = lengths.iter().map(|lengths| from.iter().map(|&index| lengths[index]).collect()).collect();
    let keep = &*keep;
    list(crew, shares, parts, lengths, |left, right| {
        may_be_wanted(keep, left, right).then(|| pairs.get(pair(left, right))).flatten().map(|entry| entry.index)
    });
    pairs
}

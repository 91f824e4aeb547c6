//! Counted pre-tokens become the words of the merge phase.

use std::collections::HashMap;

use super::crew::{each_of, Crew};
use super::runs::{Sorted, Temporary};
use super::shard::{Layout, Shard, Symbol};
use super::table::Table;
use crate::error::{Error, Result};

/// Takes bytes, hash and count of a pre-token.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], u64, u64);

/// Every distinct pre-token and how often it occurs.
pub(super) enum Words {
    Table(Table),
    File {
        sorted: Sorted,
        /// Goes away once the words are laid out.
        _folder: Option<Temporary>,
    },
}

impl Words {
    pub fn len(&self) -> u64 {
        match self {
            Self::Table(table) => table.len() as u64,
            Self::File { sorted, .. } => sorted.records,
        }
    }

    /// Visits each, in the same order every time.
    pub fn each(&self, visit: Visit<'_>) -> Result<()> {
        self.part(0, 1, visit)
    }

    /// Visits the words of one of `parts` shares, in the same order every time.
    fn part(&self, part: usize, parts: usize, visit: Visit<'_>) -> Result<()> {
        match self {
            Self::Table(table) => {
                table.part(part, parts, visit);
                Ok(())
            }
            Self::File { sorted, .. } => sorted.each(&mut |bytes, hash, count| {
                if part_of(hash, parts) == part {
                    visit(bytes, hash, count);
                }
            }),
        }
    }
}

/// Which of `parts` shares a hash belongs to.
fn part_of(hash: u64, parts: usize) -> usize {
    ((u128::from(hash) * parts as u128) >> 64) as usize
}

/// Counts below this have a place in a table, those above in a map.
const SMALL: u64 = 1 << 12;

/// Slots by count, and then where the next word of that count goes.
struct ByCount<T> {
    small: Vec<T>,
    large: HashMap<u64, T>,
}

impl<T: Copy + Default> ByCount<T> {
    fn new() -> Self {
        Self { small: vec![T::default(); SMALL as usize], large: HashMap::new() }
    }

    #[inline(always)]
    fn at(&mut self, count: u64) -> &mut T {
        if count < SMALL {
            &mut self.small[count as usize]
        } else {
            self.large.entry(count).or_default()
        }
    }
}

/// Lays the words out in a shard for each thread of the crew, by falling count. `ids` is the number of ids there will be.
pub(super) fn lay_out<S: Symbol>(words: &Words, ids: u32, memory: Option<u64>, crew: &Crew) -> Result<Vec<Shard<S>>> {
    let parts = crew.threads();
    let mut sizes: Vec<Result<ByCount<u64>>> = (0..parts).map(|_| Ok(ByCount::new())).collect();
    each_of(crew, &mut sizes, |part, sizes| {
        let mut found = ByCount::new();
        // a single byte has no pair
        let told = words.part(part, parts, &mut |bytes, _, count| {
            if bytes.len() > 1 {
                *found.at(count) += bytes.len() as u64 + 1;
            }
        });
        *sizes = told.map(|()| found);
    });
    let mut layouts = Vec::new();
    for sizes in sizes {
        let sizes = sizes?;
        let small = sizes.small.into_iter().enumerate().map(|(count, slots)| (count as u64, slots));
        let mut runs: Vec<(u64, u64)> = sizes.large.into_iter().chain(small).filter(|&(_, slots)| slots > 0).collect();
        runs.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
        layouts.push(Layout { runs });
    }
    check_memory::<S>(layouts.iter().map(Layout::slots).sum(), memory)?;
    for layout in &layouts {
        if layout.slots() >= u64::from(u32::MAX) {
            let message =
                format!("the distinct pre-tokens take {} symbols, and a thread merges 4 billion", layout.slots());
            return Err(Error::tokenizer(message)
                .hint("use more threads, or train on a part of the text: --bytes or --documents"));
        }
    }
    let mut built: Vec<(Layout, Result<Option<Shard<S>>>)> =
        layouts.into_iter().map(|layout| (layout, Ok(None))).collect();
    each_of(crew, &mut built, |part, (layout, built)| {
        let mut shard = Shard::new(layout, ids);
        let mut cursors = ByCount::new();
        let mut start = 1;
        for &(count, slots) in &layout.runs {
            *cursors.at(count) = start;
            start += slots as u32;
        }
        let told = words.part(part, parts, &mut |bytes, _, count| {
            if bytes.len() > 1 {
                let cursor = cursors.at(count);
                *cursor = shard.put(*cursor, bytes);
            }
        });
        *built = told.map(|()| Some(shard));
    });
    built.into_iter().map(|(_, built)| built.map(|shard| shard.expect("a shard was built"))).collect()
}

/// What merging takes: a slot and a place in a list for each symbol, lists that new pairs bring, and what does not
/// depend on the text.
fn check_memory<S>(symbols: u64, memory: Option<u64>) -> Result<()> {
    let needed = symbols * (size_of::<S>() as u64 + 4) * 5 / 4 + (8 << 20);
    match memory {
        Some(memory) if needed > memory => {
            let share = 100 * memory / needed;
            let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
            let message = format!(
                "merging takes about {} MB for the {symbols} symbols of all distinct pre-tokens, and {} MB are allowed",
                megabytes(needed),
                megabytes(memory)
            );
            Err(Error::tokenizer(message).hint(format!(
                "allow --memory {}M, or train on a sample of about {share} % of the text: --bytes or --documents",
                megabytes(needed)
            )))
        }
        _ => Ok(()),
    }
}

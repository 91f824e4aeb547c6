//! Counted pre-tokens become the words of the merge phase.

use std::collections::HashMap;

use super::count_table::{self, CountTable};
use super::crew::{each_of, Crew};
use super::occurrences::{Layout, Places, WordShare};
use super::spill::{Sorted, Temporary};
use super::visit::Visit;
use crate::error::{Error, Result};
use crate::id::Id;

/// Every distinct pre-token and how often it occurs.
pub(super) enum Words {
    Table(CountTable),
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

    /// Whether something holds of each; a table is left at the first of which it does not.
    pub fn all(&self, holds: &mut dyn FnMut(&[u8]) -> bool) -> Result<bool> {
        if let Self::Table(table) = self {
            return Ok(table.all(holds));
        }
        let mut all = true;
        self.each(&mut |bytes, _, _| all = all && holds(bytes))?;
        Ok(all)
    }

    /// Visits the words of one of `parts` shares, in the same order every time.
    fn part(&self, part: usize, parts: usize, visit: Visit<'_>) -> Result<()> {
        match self {
            Self::Table(table) => {
                table.part(part, parts, visit);
                Ok(())
            }
            Self::File { sorted, .. } => part_of_file(sorted, part, parts, visit),
        }
    }

    /// The same shares; a table gives its memory back while they are visited.
    fn shares(&mut self, parts: usize) -> Vec<Share<'_>> {
        match self {
            Self::Table(table) => table.shares(parts).into_iter().map(Share::Lines).collect(),
            Self::File { sorted, .. } => (0..parts).map(|part| Share::File { sorted, part, parts }).collect(),
        }
    }
}

/// Some of the words, to be visited once.
enum Share<'a> {
    Lines(count_table::Share<'a>),
    File { sorted: &'a Sorted, part: usize, parts: usize },
}

impl Share<'_> {
    fn drain(self, visit: Visit<'_>) -> Result<()> {
        match self {
            Self::Lines(share) => {
                share.drain(visit);
                Ok(())
            }
            Self::File { sorted, part, parts } => part_of_file(sorted, part, parts, visit),
        }
    }
}

fn part_of_file(sorted: &Sorted, part: usize, parts: usize, visit: Visit<'_>) -> Result<()> {
    sorted.each(&mut |bytes, hash, count| {
        if part_of(hash, parts) == part {
            visit(bytes, hash, count);
        }
    })
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

    fn get(&self, count: u64) -> T {
        if count < SMALL {
            self.small[count as usize]
        } else {
            self.large.get(&count).copied().unwrap_or_default()
        }
    }
}

impl ByCount<u64> {
    /// Counts and slots, where there are any.
    fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let small = self.small.iter().enumerate().map(|(count, &slots)| (count as u64, slots));
        self.large.iter().map(|(&count, &slots)| (count, slots)).chain(small).filter(|&(_, slots)| slots > 0)
    }
}

/// Slots of all words from which on each thread of the crew has a share of its own, and merges in it. 15 MB of many
/// scripts gain 1.4 times from a second share; source code, of half that, took twice as long with it: a merge there is
/// over before the other thread wakes.
pub(super) const SHARED_FROM: u64 = 11_000_000;

/// Lays the words out, in one share or one for each thread of the crew, by falling count; says how many occurrences of
/// pairs may be listed beside them. `ids` is the number of ids there will be.
pub(super) fn lay_out<S: Id>(
    mut words: Words,
    ids: u32,
    memory: Option<u64>,
    crew: &Crew,
    shared_from: u64,
) -> Result<(Vec<WordShare<S>>, usize)> {
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
    let sizes = sizes.into_iter().collect::<Result<Vec<_>>>()?;
    let slots: u64 = sizes.iter().flat_map(ByCount::runs).map(|(_, slots)| slots).sum();
    // parts of one share follow each other at every count, so that words lie as one thread would lay them
    let of_share = if slots >= shared_from { 1 } else { parts };
    let layouts: Vec<Layout> = sizes.chunks(of_share).map(layout).collect();
    let room = room_for_lists::<S>(layouts.iter().map(Layout::slots).sum(), memory)?;
    for layout in &layouts {
        if layout.slots() >= u64::from(u32::MAX) {
            let message =
                format!("the distinct pre-tokens take {} symbols, and a thread merges 4 billion", layout.slots());
            return Err(Error::tokenizer(message)
                .hint("use more threads, or train on a part of the text: --bytes or --documents"));
        }
    }
    let mut word_shares: Vec<WordShare<S>> = layouts.iter().map(|layout| WordShare::new(layout, ids)).collect();
    let places: Vec<Places<S>> = word_shares.iter_mut().map(WordShare::places).collect();
    let mut laid: Vec<(Option<Share<'_>>, Result<()>)> =
        words.shares(parts).into_iter().map(|share| (Some(share), Ok(()))).collect();
    each_of(crew, &mut laid, |part, (share, told)| {
        let first = part / of_share * of_share;
        let mut cursors = ByCount::new();
        let mut start = 1;
        for &(count, slots) in &layouts[part / of_share].runs {
            let before: u64 = sizes[first..part].iter().map(|sizes| sizes.get(count)).sum();
            *cursors.at(count) = (start + before) as u32;
            start += slots;
        }
        let places = &places[part / of_share];
        *told = share.take().expect("a share is visited once").drain(&mut |bytes, _, count| {
            if bytes.len() > 1 {
                let cursor = cursors.at(count);
                // SAFETY: the same words were counted before, and so many slots of this count are this part's alone
                *cursor = unsafe { places.put(*cursor, bytes) };
            }
        });
    });
    laid.into_iter().try_for_each(|(_, told)| told)?;
    Ok((word_shares, room))
}

/// A layout for the words of some parts.
fn layout(sizes: &[ByCount<u64>]) -> Layout {
    let mut sum = ByCount::new();
    sizes.iter().flat_map(ByCount::runs).for_each(|(count, slots)| *sum.at(count) += slots);
    let mut runs: Vec<(u64, u64)> = sum.runs().collect();
    runs.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
    Layout { runs }
}

/// What slots and lists take together where nobody limits memory, if no pair is to be counted again for it. Counting
/// again is some passes over all symbols: text in many scripts, of 15 M symbols, comes to it once or twice, English
/// prose not at all, and a gigabyte with one word in 50 unheard of, 40 M symbols, six times.
const FREELY: u64 = if cfg!(test) { 0 } else { 160 << 20 };

/// What merging takes: a slot for each symbol, lists of what occurs where, and what does not depend on the text.
fn room_for_lists<S>(symbols: u64, memory: Option<u64>) -> Result<usize> {
    const FIXED: u64 = 8 << 20;
    let slots = symbols * size_of::<S>() as u64;
    let least = symbols / 2;
    let needed = slots + 4 * least + FIXED;
    match memory {
        None => Ok(least.max(FREELY.saturating_sub(slots) / 4) as usize),
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
        // a fifth for what a step adds before the lists are looked at
        Some(memory) => Ok(least.max((memory - slots - FIXED) / 5) as usize),
    }
}

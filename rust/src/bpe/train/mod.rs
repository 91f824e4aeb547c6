//! Training byte-level BPE: counting pre-tokens, then merging the most frequent pair until there are enough.
//!
//! The merges are those of Hugging Face `tokenizers`' `BpeTrainer` over the same pre-tokens with the 256 bytes as
//! alphabet: highest count first, then the lowest pair of ids. They depend on neither threads, blocks nor file order.

mod count;
mod count_table;
mod crew;
mod keep;
mod merge;
mod occurrences;
mod pair_counts;
mod progress;
mod recount;
mod saved;
mod settings;
mod spill;
mod visit;
mod words;

pub use count::Texts;
pub use progress::{Phase, Report, Unwatched, Watch};
pub use settings::{Merge, Settings, State};

use std::time::Instant;

use crate::error::{Error, Result};
use crate::id::Id;
use crate::pattern::Pattern;
use count::Spill;
use crew::Crew;
use merge::Merger;
use progress::Clock;
use saved::Saved;
use words::Words;

/// The merges, and what it took.
#[derive(Debug, Clone, Default)]
pub struct Trained {
    pub merges: Vec<Merge>,
    /// No pair was left that occurs often enough.
    pub exhausted: bool,
    /// Bytes of text and pre-tokens in it, distinct ones among them.
    pub bytes: u64,
    pub pre_tokens: u64,
    pub distinct: u64,
    /// How often counts were written to disk for want of memory.
    pub spills: u64,
    /// Merges that an interrupted training had made.
    pub resumed: usize,
    /// Occurrences of pairs that were merged.
    pub operations: u64,
    pub count_seconds: f64,
    pub merge_seconds: f64,
}

/// Trains on `texts`, cut by `pattern`.
pub fn train(texts: &dyn Texts, pattern: &Pattern, settings: &Settings, watch: &dyn Watch) -> Result<Trained> {
    let goal = settings.goal()?;
    let threads = settings.threads.max(1);
    let begun = Instant::now();
    let clock = Clock::new(watch);
    let mut saved = match &settings.state {
        Some(state) => Some(Saved::open(&state.folder, settings.fingerprint(&state.sources, pattern))?),
        None => None,
    };
    let counts = if let Some(counts) = saved.as_ref().map(Saved::counts).transpose()?.flatten() {
        counts
    } else {
        let temporary = settings.temporary.clone().unwrap_or_else(std::env::temp_dir);
        let spill = settings.memory.map(|memory| Spill::new(memory, threads, &temporary)).transpose()?;
        let counts = count::count(texts, pattern, threads, spill, &clock)?;
        check_text(&counts)?;
        if let Some(saved) = &mut saved {
            saved.save_counts(&counts)?;
        }
        counts
    };
    let mut trained = Trained {
        bytes: counts.bytes,
        pre_tokens: counts.pre_tokens,
        distinct: counts.words.len(),
        spills: counts.spills,
        count_seconds: begun.elapsed().as_secs_f64(),
        ..Trained::default()
    };
    let mut merging = Merging { goal, settings, clock: &clock, saved, trained: &mut trained };
    // threads that wait for each other gain nothing from more than there are cores
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if cfg!(test) { threads } else { threads.min(cores) };
    Crew::with(threads, |crew| {
        // two ids more than tokens: the boundary between words, and what is no token's start
        if 256 + goal + 2 <= 1 << 16 {
            merging.run::<u16>(counts.words, crew)
        } else {
            merging.run::<u32>(counts.words, crew)
        }
    })?;
    trained.merge_seconds = begun.elapsed().as_secs_f64() - trained.count_seconds;
    if trained.exhausted && !settings.allow_fewer {
        return Err(too_small(&trained, goal, settings));
    }
    Ok(trained)
}

struct Merging<'a> {
    goal: usize,
    settings: &'a Settings,
    clock: &'a Clock<'a>,
    saved: Option<Saved>,
    trained: &'a mut Trained,
}

impl Merging<'_> {
    fn run<S: Id>(&mut self, words: Words, crew: &Crew) -> Result<()> {
        let ids = (256 + self.goal) as u32;
        let shared_from = if cfg!(test) { 0 } else { words::SHARED_FROM };
        let (shares, room) = words::lay_out::<S>(words, ids, self.settings.memory, crew, shared_from)?;
        let mut before = self.settings.before.clone();
        if let Some(saved) = &mut self.saved {
            let resumed = saved.merges(before.len())?;
            before.extend(resumed);
            before.truncate(self.goal);
            self.trained.resumed = before.len() - self.settings.before.len();
        }
        let mut merger = Merger::new(shares, self.settings, room, crew);
        merger.start(&before, self.goal);
        let state = loop {
            let state = merger.run(self.goal, 16);
            let told = self.clock.tick(Phase::Merge, merger.merges().len() as u64, self.goal as u64);
            if let Some(saved) = &mut self.saved {
                let now = told.is_err() || state != merge::State::More;
                saved.save_merges(&merger.merges()[self.settings.before.len()..], now)?;
            }
            told?;
            if state != merge::State::More {
                break state;
            }
        };
        self.trained.exhausted = state == merge::State::Exhausted;
        self.trained.operations = merger.operations();
        self.trained.merges = merger.into_merges();
        Ok(())
    }
}

fn check_text(counts: &count::Counts) -> Result<()> {
    if counts.bytes == 0 || counts.words.len() == 0 {
        return Err(Error::data("there is no text to train on").hint("the sources hold no document that is not empty"));
    }
    let is_blank = |text: &str| text.chars().all(char::is_whitespace);
    let blank = counts.words.all(&mut |bytes| std::str::from_utf8(bytes).is_ok_and(is_blank))?;
    if blank {
        return Err(Error::data(format!(
            "the text to train on is nothing but white space, {} bytes of it",
            counts.bytes
        ))
        .hint("name files that hold more"));
    }
    Ok(())
}

fn too_small(trained: &Trained, goal: usize, settings: &Settings) -> Error {
    let found = trained.merges.len();
    let often = if settings.min_frequency > 1 {
        format!(" that occur {} times or more", settings.min_frequency)
    } else {
        String::new()
    };
    let message = format!(
        "the text, {} bytes, is too small for a vocabulary of {}: it has {found} merges{often}, {goal} are wanted",
        trained.bytes, settings.vocab_size
    );
    Error::tokenizer(message)
        .hint(format!("ask for a vocabulary of {} or less, or bring more text", 256 + found + settings.specials))
}

#[cfg(test)]
mod tests;

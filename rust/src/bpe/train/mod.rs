//! Training byte-level BPE: counting pre-tokens, then merging the most frequent pair until there are enough.
//!
//! The merges are those of Hugging Face `tokenizers`' `BpeTrainer` over the same pre-tokens with the 256 bytes as
//! alphabet: highest count first, then the lowest pair of ids. They depend on neither threads, blocks nor file order.

mod count;
mod merge;
mod pairs;
mod progress;
mod recount;
mod shard;
mod table;
mod words;

pub use count::Texts;
pub use progress::{Phase, Report, Unwatched, Watch};

use std::time::Instant;

use crate::error::{Error, Result};
use crate::pattern::Pattern;
use merge::{Merger, State};
use progress::Clock;
use shard::Symbol;
use words::Words;

/// The ids of the two halves of a token. The result's id is 256 and the rank of the merge.
pub type Merge = (u32, u32);

/// What to train, and within what bounds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes, merges and special tokens together.
    pub vocab_size: usize,
    /// How many special tokens take their ids after the last merge.
    pub specials: usize,
    /// The least count of a pair that is merged; 0 and 1 mean the same.
    pub min_frequency: u64,
    /// Tokens of more than two bytes stay below this many bytes, as with `BpeTrainer`.
    pub max_token_length: Option<usize>,
    pub threads: usize,
    /// Where the text has fewer pairs than the vocabulary has room for, be content with those.
    pub allow_fewer: bool,
    /// Merges made before, which come first.
    pub before: Vec<Merge>,
}

impl Settings {
    pub fn new(vocab_size: usize) -> Self {
        Self {
            vocab_size,
            specials: 0,
            min_frequency: 0,
            max_token_length: None,
            threads: 1,
            allow_fewer: false,
            before: Vec::new(),
        }
    }

    /// The number of merges, if the settings make sense.
    fn goal(&self) -> Result<usize> {
        let least = 256 + self.specials;
        let Some(goal) = self.vocab_size.checked_sub(least) else {
            let message = format!(
                "a vocabulary of {} cannot hold the 256 bytes and {} special token{}",
                self.vocab_size,
                self.specials,
                if self.specials == 1 { "" } else { "s" }
            );
            return Err(Error::usage(message).hint(format!("ask for at least {least}, sensibly for some thousands")));
        };
        if self.vocab_size >= 1 << 31 {
            return Err(Error::usage(format!("a vocabulary of {} is beyond 31 bits", self.vocab_size)));
        }
        if self.before.len() > goal {
            let message = format!(
                "{} merges exist already, and a vocabulary of {} has room for {goal}",
                self.before.len(),
                self.vocab_size
            );
            return Err(Error::usage(message).hint(format!("ask for more than {}", self.before.len() + least)));
        }
        for (rank, &(left, right)) in self.before.iter().enumerate() {
            if left.max(right) as usize >= 256 + rank {
                return Err(Error::tokenizer(format!("merge {rank} names a token that no merge before it makes"))
                    .hint("the tokenizer to continue from is damaged, or its ids are not in the order of its merges"));
            }
        }
        Ok(goal)
    }
}

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
    /// Occurrences of pairs that were merged.
    pub operations: u64,
    pub count_seconds: f64,
    pub merge_seconds: f64,
}

/// Asks the processor for the line that holds `items[at]`, if there is one.
#[inline(always)]
fn prefetch<T>(items: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch faults on no address, and wrapping arithmetic makes none that is undefined.
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch(items.as_ptr().wrapping_add(at).cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, at);
}

/// Trains on `texts`, cut by `pattern`.
pub fn train(texts: &dyn Texts, pattern: &Pattern, settings: &Settings, watch: &dyn Watch) -> Result<Trained> {
    let goal = settings.goal()?;
    let begun = Instant::now();
    let clock = Clock::new(watch);
    let counts = count::count(texts, pattern, settings.threads.max(1), &clock)?;
    let mut trained = Trained {
        bytes: counts.bytes,
        pre_tokens: counts.pre_tokens,
        distinct: counts.words.len() as u64,
        count_seconds: begun.elapsed().as_secs_f64(),
        ..Trained::default()
    };
    check_text(&counts)?;
    // two ids more than tokens: the boundary between words, and what is no token's end
    if 256 + goal + 2 <= 1 << 16 {
        merge::<u16>(counts.words, goal, settings, &clock, &mut trained)?;
    } else {
        merge::<u32>(counts.words, goal, settings, &clock, &mut trained)?;
    }
    trained.merge_seconds = begun.elapsed().as_secs_f64() - trained.count_seconds;
    if trained.exhausted && !settings.allow_fewer {
        return Err(too_small(&trained, goal, settings));
    }
    Ok(trained)
}

fn merge<S: Symbol>(
    words: impl Words,
    goal: usize,
    settings: &Settings,
    clock: &Clock<'_>,
    trained: &mut Trained,
) -> Result<()> {
    let shards = words::lay_out::<S>(&words, settings.threads.max(1), (256 + goal) as u32)?;
    drop(words);
    let mut merger = Merger::new(shards, settings);
    merger.start(&settings.before, goal);
    loop {
        let state = merger.run(goal, 16);
        clock.tick(Phase::Merge, merger.merges().len() as u64, goal as u64)?;
        if state != State::More {
            trained.exhausted = state == State::Exhausted;
            break;
        }
    }
    trained.operations = merger.operations;
    trained.merges = merger.into_merges();
    Ok(())
}

fn check_text(counts: &count::Counts) -> Result<()> {
    if counts.words.len() == 0 {
        return Err(Error::data("there is no text to train on").hint("the sources hold no document that is not empty"));
    }
    let mut blank = true;
    counts.words.each(|bytes, _, _| {
        blank = blank && std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(char::is_whitespace));
    });
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

//! What to train, and within what bounds.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::pattern::Pattern;

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
    /// Bytes that the counts, and then the merges, may take.
    pub memory: Option<u64>,
    /// Where counts go that take more; the system's folder for such things if not said.
    pub temporary: Option<PathBuf>,
    /// Where the state is kept from which an interrupted training goes on.
    pub state: Option<State>,
}

/// A folder, and what tells the sources of this training from others.
#[derive(Debug, Clone)]
pub struct State {
    pub folder: PathBuf,
    pub sources: String,
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
            memory: None,
            temporary: None,
            state: None,
        }
    }

    /// Tells apart all trainings whose merges differ.
    pub(super) fn fingerprint(&self, sources: &str, pattern: &Pattern) -> String {
        let before: Vec<u8> =
            self.before.iter().flat_map(|&(left, right)| [left, right]).flat_map(u32::to_le_bytes).collect();
        format!(
            "{sources}\n{}\n{:?} {:?} {:032x}",
            pattern.regex(),
            self.min_frequency.max(1),
            self.max_token_length,
            xxhash_rust::xxh3::xxh3_128(&before)
        )
    }

    /// The number of merges, if the settings make sense.
    pub(super) fn goal(&self) -> Result<usize> {
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

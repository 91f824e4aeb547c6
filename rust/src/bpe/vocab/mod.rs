//! A vocabulary: tokens, the merges that make them, the pattern that cuts text first, and special tokens.

mod compile;
mod gpt2_files;
pub mod specials;
mod tiktoken_ranks;
mod tokenizer_json;

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::bpe::alphabet;
use crate::bpe::model::pair_ranks;
use crate::bpe::model::Model;
use crate::error::{Error, Result};
use crate::memory::mapped_slice::MappedSlice;
use crate::pattern::Pattern;

/// Tokens that are found in text before it is cut and merged.
#[derive(Default)]
pub(in crate::bpe) struct AddedTokens {
    pub specials: Vec<(String, u32)>,
    pub added: Vec<(String, u32)>,
    pub late: Vec<u32>,
}

/// What every reader makes and every writer takes; the encoder compiles it.
pub struct Vocab {
    /// By id; empty where the numbering has a hole. Special tokens are here with their text.
    pub tokens: Vec<Vec<u8>>,
    /// In the order of their rank.
    pub merges: Vec<(u32, u32)>,
    /// Sorted by id.
    pub specials: Vec<(String, u32)>,
    /// Added tokens that are not special: found in every text, whatever is allowed. Sorted by id.
    pub added: Vec<(String, u32)>,
    /// Ids of the special and added tokens that are looked for in what the others leave. Sorted.
    pub late: Vec<u32>,
    pub pattern: Pattern,
    /// A pre-token that is a token is that token, whatever the merges make of it. False where both ways always agree.
    pub whole_first: bool,
    /// What a tokenizer.json wants done after encoding (Llama 3 adds a first token); carried along, never applied.
    pub post_processor: Option<serde_json::Value>,
    /// The id that each merge makes.
    pub(in crate::bpe) results: Vec<u32>,
    pub(in crate::bpe) model: Model,
    /// Identity and tokenizer.json, where they were kept with the compiled vocabulary.
    pub(in crate::bpe) known: Option<(String, MappedSlice<u8>)>,
}

impl Vocab {
    /// Merges in the id space of training: 256 bytes in the order of the printable alphabet, then one id a merge;
    /// special tokens take the ids after the last merge.
    pub fn from_merges(merges: Vec<(u32, u32)>, specials: Vec<String>, pattern: Pattern) -> Result<Self> {
        let mut tokens: Vec<Vec<u8>> = alphabet::BYTES.iter().map(|&byte| vec![byte]).collect();
        for (rank, &(left, right)) in merges.iter().enumerate() {
            let (Some(start), Some(end)) = (tokens.get(left as usize), tokens.get(right as usize)) else {
                return Err(Error::tokenizer(format!(
                    "merge {rank} joins tokens {left} and {right}, one of which comes later"
                ))
                .hint("merges are pairs of ids below 256 plus their own place"));
            };
            tokens.push([start.as_slice(), end].concat());
        }
        let first = tokens.len() as u32;
        let specials = (first..).zip(specials).map(|(id, text)| (text, id)).collect();
        let results = (256..first).collect();
        Self::from_parts(tokens, merges, results, AddedTokens { specials, ..AddedTokens::default() }, pattern, false)
    }

    /// Checks the parts against each other and compiles them. `tokens` may leave out what is added.
    pub(in crate::bpe) fn from_parts(
        mut tokens: Vec<Vec<u8>>,
        merges: Vec<(u32, u32)>,
        results: Vec<u32>,
        mut extra: AddedTokens,
        pattern: Pattern,
        whole_first: bool,
    ) -> Result<Self> {
        extra.specials.sort_by_key(|special| special.1);
        extra.added.sort_by_key(|added| added.1);
        extra.late.sort_unstable();
        let AddedTokens { specials, added, late } = extra;
        let all: Vec<(String, u32)> = specials.iter().chain(&added).cloned().collect();
        place_specials(&mut tokens, &all)?;
        if merges.len() > pair_ranks::LIMIT {
            return Err(Error::tokenizer(format!(
                "the vocabulary has {} merges; {} is the most",
                merges.len(),
                pair_ranks::LIMIT
            ))
            .hint("train a smaller vocabulary: the largest in use have a tenth of that"));
        }
        if tokens.len() > pair_ranks::LIMIT {
            return Err(Error::tokenizer(format!(
                "the vocabulary numbers {} tokens; {} is the most",
                tokens.len(),
                pair_ranks::LIMIT
            ))
            .hint("check the largest id in the file"));
        }
        let model = Model::new(&tokens, &merges, &results, &all, whole_first)?;
        let whole_first = !model.whole.is_empty();
        Ok(Self {
            tokens,
            merges,
            specials,
            added,
            late,
            pattern,
            whole_first,
            post_processor: None,
            results,
            model,
            known: None,
        })
    }

    /// Ids run below this.
    pub fn size(&self) -> usize {
        self.tokens.len()
    }

    /// The bytes of a token.
    pub fn token(&self, id: u32) -> Result<&[u8]> {
        match self.tokens.get(id as usize) {
            Some(token) if !token.is_empty() => Ok(token),
            _ => Err(Error::data(format!("{id} is not a token of this vocabulary of {}", self.size()))
                .hint("these ids come from another tokenizer, or from padding")),
        }
    }

    /// Appends the bytes that the ids stand for.
    pub fn decode(&self, ids: impl IntoIterator<Item = u32>, out: &mut Vec<u8>) -> Result<()> {
        for id in ids {
            out.extend_from_slice(self.token(id)?);
        }
        Ok(())
    }

    /// Ids in order, without what is added and holes.
    pub(in crate::bpe) fn ordinary(&self) -> impl Iterator<Item = (u32, &[u8])> {
        let mut specials: Vec<u32> = self.specials.iter().chain(&self.added).map(|special| special.1).collect();
        specials.sort_unstable();
        let mut specials = specials.into_iter().peekable();
        (0_u32..).zip(&self.tokens).filter_map(move |(id, token)| {
            let special = specials.next_if_eq(&id).is_some();
            (!special && !token.is_empty()).then_some((id, token.as_slice()))
        })
    }

    /// Added tokens whose text a tokenizer.json also gives to another token, whose bytes it spells so (`é` is how it
    /// writes the byte 0xe9): other readers take that token's id for both.
    pub fn spelled_twice(&self) -> Vec<String> {
        let spelled: HashMap<Vec<u8>, &String> = (self.specials.iter().chain(&self.added))
            .filter_map(|(text, _)| Some((alphabet::from_printable(text)?, text)))
            .collect();
        self.ordinary().filter_map(|(_, token)| spelled.get(token).map(|text| (*text).clone())).collect()
    }

    /// SHA-256, in hex, of vocabulary, merges, pattern and specials: equal for equal behaviour, whatever file it came
    /// from.
    pub fn identity(&self) -> String {
        if let Some((identity, _)) = &self.known {
            return identity.clone();
        }
        let mut hash = Sha256::new();
        let text = |hash: &mut Sha256, bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        text(&mut hash, b"pylm byte-level bpe 1");
        for (id, token) in self.ordinary() {
            hash.update(id.to_le_bytes());
            text(&mut hash, token);
        }
        text(&mut hash, b"merges");
        for (&(left, right), &result) in self.merges.iter().zip(&self.results) {
            for id in [left, right, result] {
                hash.update(id.to_le_bytes());
            }
        }
        text(&mut hash, b"pattern");
        text(&mut hash, self.pattern.name().unwrap_or(self.pattern.regex()).as_bytes());
        hash.update([u8::from(self.whole_first)]);
        for (special, id) in &self.specials {
            hash.update(id.to_le_bytes());
            text(&mut hash, special.as_bytes());
        }
        let all = self.specials.len() + self.added.len();
        if !self.added.is_empty() || !self.late.is_empty() && self.late.len() < all {
            text(&mut hash, b"added");
            for (added, id) in &self.added {
                hash.update(id.to_le_bytes());
                text(&mut hash, added.as_bytes());
            }
            self.late.iter().for_each(|id| hash.update(id.to_le_bytes()));
        }
        format!("{:x}", hash.finalize())
    }
}

fn place_specials(tokens: &mut Vec<Vec<u8>>, specials: &[(String, u32)]) -> Result<()> {
    let mut seen = HashMap::new();
    for (text, id) in specials {
        if text.is_empty() {
            return Err(Error::tokenizer(format!("special token {id} is empty text"))
                .hint("give it a name such as <|endoftext|>"));
        }
        if let Some(other) = seen.insert(text, id) {
            return Err(Error::tokenizer(format!("special token {text} is given twice, as {other} and as {id}")));
        }
        let id = *id as usize;
        if id > pair_ranks::LIMIT {
            return Err(Error::tokenizer(format!(
                "special token {text} has id {id}; {} is the highest",
                pair_ranks::LIMIT
            )));
        }
        if tokens.len() <= id {
            tokens.resize(id + 1, Vec::new());
        }
        if !tokens[id].is_empty() && tokens[id] != text.as_bytes() {
            return Err(Error::tokenizer(format!(
                "special token {text} and token {:?} share id {id}",
                alphabet::to_printable(&tokens[id])
            )));
        }
        tokens[id] = text.as_bytes().to_vec();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_merges_than_ranks_have_room_for_are_refused() {
        let pattern = || Pattern::new("gpt2").unwrap();
        let merges = vec![(0, 1); pair_ranks::LIMIT + 1];
        let error = Vocab::from_parts(Vec::new(), merges, Vec::new(), AddedTokens::default(), pattern(), false);
        let error = error.err().unwrap();
        assert!(error.message.contains("2097152 merges; 2097151 is the most") && error.hint.is_some(), "{error}");
        // several merges may make one token: the bound on tokens does not bound them
        let error = Vocab::from_merges(vec![(0, 1)], vec!["a".into(), "a".into()], pattern()).err().unwrap();
        assert!(error.message.contains("given twice"), "{error}");
    }
}

//! The two files in which GPT-2 was published: a vocabulary as JSON, and merges as lines.

use std::collections::HashMap;

use super::tokenizer_json::{Bpe, Merge};
use super::{AddedTokens, Vocab};
use crate::error::{Error, Result};
use crate::pattern::Pattern;

impl Vocab {
    /// Reads `encoder.json` (or `vocab.json`) with `vocab.bpe` (or `merges.txt`), as GPT-2 was published.
    /// Special tokens are those named; they must be in the vocabulary.
    pub fn from_vocab_and_merges(vocab: &[u8], merges: &[u8], pattern: Pattern, specials: &[String]) -> Result<Self> {
        let vocab: HashMap<String, u32> = serde_json::from_slice(vocab).map_err(|error| {
            Error::tokenizer(format!("the vocabulary is not a JSON object of tokens and ids: {error}"))
        })?;
        let merges = std::str::from_utf8(merges)
            .map_err(|error| Error::tokenizer(format!("the merges are not UTF-8 at byte {}", error.valid_up_to())))?;
        // lines() ends lines at \r\n too; the first may be a comment, and only the first: `#` starts merges as well
        let merges = merges
            .lines()
            .enumerate()
            .filter(|(at, line)| !(line.is_empty() || *at == 0 && line.starts_with("#version")));
        let merges = merges.map(|(_, line)| Merge::Line(line.into())).collect();
        let specials = specials.iter().map(|text| match vocab.get(text) {
            Some(&id) => Ok((text.clone(), id)),
            None => Err(Error::tokenizer(format!("special token {text} is not in the vocabulary"))),
        });
        let specials = specials.collect::<Result<Vec<_>>>()?;
        let model = Bpe {
            vocab,
            merges,
            dropout: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            byte_fallback: false,
            ignore_merges: false,
        };
        model.build(AddedTokens { specials, ..AddedTokens::default() }, pattern)
    }
}

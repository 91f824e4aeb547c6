//! tokenizer.json, the format of Hugging Face `tokenizers`: byte-level BPE is read and written, anything else refused
//! by name.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{json, Map, Value};

use crate::bpe::alphabet;
use crate::bpe::model::pair_ranks::LIMIT;
use crate::bpe::vocab::{AddedTokens, Vocab};
use crate::error::{Error, Result};
use crate::pattern::{portable, Named, Pattern};

/// Gemma 3 has 6,415. Python's `foreign_limits.MOST_ADDED` is the same, and says it to the user.
const MOST_ADDED: usize = 100_000;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
    model: Value,
}

#[derive(Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the format's own fields")]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
    normalized: Option<bool>,
}

/// How a file cuts text, and what in that other readers read in another way.
struct Cut {
    pattern: Pattern,
    differs: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Bpe {
    pub vocab: HashMap<String, u32>,
    pub merges: Vec<Merge>,
    pub dropout: Option<f64>,
    pub continuing_subword_prefix: Option<String>,
    pub end_of_word_suffix: Option<String>,
    #[serde(default)]
    pub byte_fallback: bool,
    #[serde(default)]
    pub ignore_merges: bool,
}

/// `["Ġ", "t"]` since tokenizers 0.20, `"Ġ t"` before.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Merge {
    Pair(String, String),
    Line(String),
}

fn foreign(what: impl std::fmt::Display) -> Error {
    Error::tokenizer(format!("not a byte-level BPE tokenizer: {what}")).hint("the `tokenizers` package reads it")
}

impl Vocab {
    /// Reads a tokenizer.json.
    ///
    /// A regex that Hugging Face's engine reads in another way has that engine's meaning: such a file is not served
    /// here. But one that was written here, before regexes were looked at, keeps the meaning with which it was trained.
    pub fn from_tokenizer_json(data: &[u8]) -> Result<Self> {
        let file: File = serde_json::from_slice(data).map_err(|error| {
            Error::tokenizer(format!("not a tokenizer.json: {error}"))
                .hint("the file may be cut short; fetch or write it again")
        })?;
        if file.added_tokens.len() > MOST_ADDED {
            let count = file.added_tokens.len();
            return Err(Error::tokenizer(format!("it has {count} added tokens; {MOST_ADDED} is the most")).hint(
                "a tokenizer.json that asks for this serves no model: fetch it again, from whoever made the model",
            ));
        }
        if let Some(normalizer) = &file.normalizer {
            return Err(foreign(format_args!("it normalizes text first ({})", kind(normalizer))));
        }
        let model_kind = kind(&file.model).to_owned();
        // old files have no type and are told by their fields
        if model_kind != "BPE" && !(model_kind == "?" && file.model.get("merges").is_some()) {
            return Err(foreign(format_args!("its model is {model_kind}")));
        }
        let Cut { pattern, differs } = read_pattern(file.pre_tokenizer.as_ref())?;
        match &file.decoder {
            Some(decoder) if kind(decoder) != "ByteLevel" => {
                return Err(foreign(format_args!("its decoder is {}", kind(decoder))))
            }
            _ => {}
        }
        let model: Bpe = serde_json::from_value(file.model)
            .map_err(|error| Error::tokenizer(format!("the BPE model of this tokenizer.json is broken: {error}")))?;
        model.check()?;
        let numbers = check_numbers(&file.added_tokens, &model.vocab);
        let extra = read_added(file.added_tokens)?;
        let mut vocab = model.build(extra, pattern)?;
        vocab.post_processor = file.post_processor.filter(|post| kind(post) != "ByteLevel");
        if let Err(other) = numbers {
            // a file of ours keeps the ids that it was trained with, and says how others read it
            if vocab.spelled_twice().is_empty() || !vocab.wrote(data) {
                return Err(other);
            }
        }
        if let Some(differs) = differs.filter(|_| !vocab.wrote(data)) {
            return Err(foreign(format_args!("its regex means another thing here, for {differs}")));
        }
        Ok(vocab)
    }

    /// A tokenizer.json that `tokenizers.Tokenizer.from_file` and transformers' `PreTrainedTokenizerFast` load, with
    /// the same ids.
    pub fn to_tokenizer_json(&self) -> String {
        if let Some((_, json)) = &self.known {
            return String::from_utf8_lossy(json).into_owned();
        }
        let specials = self.specials.iter().map(|(content, id)| (content, *id, true));
        let mut extra: Vec<(&String, u32, bool)> =
            specials.chain(self.added.iter().map(|(content, id)| (content, *id, false))).collect();
        extra.sort_by_key(|token| token.1);
        let added: Vec<Value> = extra
            .iter()
            .map(|(content, id, special)| {
                json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                       "normalized": self.late.binary_search(id).is_ok(), "special": special})
            })
            .collect();
        let byte_level = |use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": use_regex});
        let pre_tokenizer = if self.pattern.name() == Some("gpt2") {
            byte_level(true)
        } else {
            let split = json!({"type": "Split", "pattern": {"Regex": self.pattern.portable_regex()}, "behavior": "Isolated", "invert": false});
            json!({"type": "Sequence", "pretokenizers": [split, byte_level(false)]})
        };
        let name = |id: u32| alphabet::to_printable(&self.tokens[id as usize]);
        let mut vocab: Map<String, Value> =
            self.ordinary().map(|(id, token)| (alphabet::to_printable(token), id.into())).collect();
        // `tokenizers` gives a special token that the vocabulary lacks the id after the last one, whatever the file
        // says: cl100k_base has no 100256, and its <|endoftext|>, 100257, would become that
        for (content, id, _) in extra {
            vocab.entry(content.clone()).or_insert_with(|| id.into());
        }
        let merges: Vec<Value> = self.merges.iter().map(|&(left, right)| json!([name(left), name(right)])).collect();
        let file = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added, "normalizer": null, "pre_tokenizer": pre_tokenizer,
            "post_processor": self.post_processor.clone().unwrap_or_else(|| byte_level(true)),
            "decoder": byte_level(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": self.whole_first, "vocab": vocab, "merges": merges,
            },
        });
        serde_json::to_string(&file).expect("strings and numbers")
    }

    /// Whether a tokenizer.json is what [`Vocab::to_tokenizer_json`] writes of this vocabulary.
    fn wrote(&self, file: &[u8]) -> bool {
        let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
        parse(file).is_some_and(|file| Some(file) == parse(self.to_tokenizer_json().as_bytes()))
    }
}

impl Bpe {
    fn check(&self) -> Result<()> {
        if self.dropout.is_some_and(|dropout| dropout > 0.0) {
            return Err(foreign("its merges drop out at random"));
        }
        let affix = [&self.continuing_subword_prefix, &self.end_of_word_suffix]
            .into_iter()
            .flatten()
            .find(|affix| !affix.is_empty());
        if let Some(affix) = affix {
            return Err(foreign(format_args!("its tokens carry {affix:?} where words begin or end")));
        }
        if self.byte_fallback {
            return Err(foreign("it works on characters and falls back to bytes"));
        }
        Ok(())
    }

    pub fn build(self, extra: AddedTokens, pattern: Pattern) -> Result<Vocab> {
        let mut tokens: Vec<Vec<u8>> = Vec::new();
        let special_ids: HashMap<&str, u32> =
            extra.specials.iter().chain(&extra.added).map(|(text, id)| (text.as_str(), *id)).collect();
        for (text, &id) in &self.vocab {
            if special_ids.get(text.as_str()) == Some(&id) {
                continue;
            }
            let token = alphabet::from_printable(text).filter(|token| !token.is_empty());
            let token = token.ok_or_else(|| {
                foreign(format_args!("token {id} is {text:?}, which is not bytes in the printable alphabet"))
            })?;
            let place = id as usize;
            if place > LIMIT {
                return Err(Error::tokenizer(format!("token {text} has id {id}; {LIMIT} is the highest")));
            }
            if tokens.len() <= place {
                tokens.resize(place + 1, Vec::new());
            }
            if !tokens[place].is_empty() {
                return Err(Error::tokenizer(format!("id {id} is given to two tokens, {text} is one")));
            }
            tokens[place] = token;
        }
        let (mut merges, mut results) = (Vec::with_capacity(self.merges.len()), Vec::with_capacity(self.merges.len()));
        for (rank, merge) in self.merges.iter().enumerate() {
            let (left, right) = match merge {
                Merge::Pair(left, right) => (left.as_str(), right.as_str()),
                Merge::Line(line) => line.split_once(' ').ok_or_else(|| {
                    Error::tokenizer(format!("merge {rank}, {line:?}, is not two tokens with a space between"))
                })?,
            };
            let find = |text: &str| {
                self.vocab
                    .get(text)
                    .copied()
                    .filter(|&id| tokens.get(id as usize).is_some_and(|token| !token.is_empty()))
                    .ok_or_else(|| {
                        Error::tokenizer(format!(
                            "merge {rank}, of {left} and {right}, needs {text}, which is not in the vocabulary"
                        ))
                        .hint("vocabulary and merges come from different tokenizers, or one is cut short")
                    })
            };
            let result = format!("{left}{right}");
            // What spells an added token is that token wherever it may be one, and plain text where it may not: no
            // merge makes it, and none takes it further.
            if let Some(name) = [left, right, &result].into_iter().find(|name| special_ids.contains_key(name)) {
                if alphabet::from_printable(name).is_none_or(|bytes| bytes != name.as_bytes()) {
                    return Err(foreign(format_args!("a merge makes its added token {name} of other bytes")));
                }
                continue;
            }
            merges.push((find(left)?, find(right)?));
            results.push(find(&result)?);
        }
        Vocab::from_parts(tokens, merges, results, extra, pattern, self.ignore_merges)
    }
}

/// `tokenizers` gives an added token the id that the vocabulary gives it, else the next one after all: what a file says
/// besides must be the same.
fn check_numbers(added: &[Added], vocab: &HashMap<String, u32>) -> Result<()> {
    let size = vocab.len() as u32;
    let mut next = size;
    for token in added {
        let id = vocab.get(&token.content).copied().unwrap_or(next);
        if id != token.id {
            let Added { content, id: said, .. } = token;
            return Err(foreign(format_args!("added token {content} has id {said}, but would be given {id}")));
        }
        next = next.max(id.saturating_add(1));
    }
    Ok(())
}

fn read_added(added: Vec<Added>) -> Result<AddedTokens> {
    let mut extra = AddedTokens::default();
    for token in added {
        if token.single_word || token.lstrip || token.rstrip {
            return Err(foreign(format_args!(
                "added token {} takes the spaces or words beside it into account",
                token.content
            )));
        }
        // what a file leaves out is what `tokenizers` takes for it
        if token.normalized.unwrap_or(!token.special) {
            extra.late.push(token.id);
        }
        let list = if token.special { &mut extra.specials } else { &mut extra.added };
        list.push((token.content, token.id));
    }
    Ok(extra)
}

fn kind(part: &Value) -> &str {
    part.get("type").and_then(Value::as_str).unwrap_or("?")
}

/// `ByteLevel` alone means GPT-2's pattern; `Split` by a regex and then `ByteLevel` means that regex.
fn read_pattern(part: Option<&Value>) -> Result<Cut> {
    let part = part.ok_or_else(|| foreign("it has no pre-tokenizer"))?;
    let steps: Vec<&Value> = match part.get("pretokenizers").and_then(Value::as_array) {
        Some(steps) => steps.iter().collect(),
        None => vec![part],
    };
    let flag = |step: &Value, name: &str, default: bool| step.get(name).and_then(Value::as_bool).unwrap_or(default);
    let names: Vec<&str> = steps.iter().map(|step| kind(step)).collect();
    let last = steps.last().filter(|step| kind(step) == "ByteLevel");
    let Some(last) = last else {
        return Err(foreign(format_args!("its pre-tokenizer is {}", names.join(", "))));
    };
    // both flags are true where a file leaves them out
    if flag(last, "add_prefix_space", true) {
        return Err(foreign("it adds a space before the text"));
    }
    match (&steps[..], flag(last, "use_regex", true)) {
        ([_], true) => Ok(Cut { pattern: Pattern::new("gpt2")?, differs: None }),
        ([split, _], false) if kind(split) == "Split" => {
            let regex = split.get("pattern").and_then(|pattern| pattern.get("Regex")).and_then(Value::as_str);
            let isolated =
                split.get("behavior").and_then(Value::as_str) == Some("Isolated") && !flag(split, "invert", false);
            match regex {
                Some(regex) if isolated => read_regex(regex),
                _ => Err(foreign("it splits in a way other than isolating the matches of a regex")),
            }
        }
        ([_], false) => Err(foreign("it does not cut text into pre-tokens")),
        _ => Err(foreign(format_args!("it pre-tokenizes in several steps ({})", names.join(", ")))),
    }
}

fn read_regex(regex: &str) -> Result<Cut> {
    if Named::ALL.into_iter().any(|named| named.name() == regex) {
        return Err(foreign(format_args!("its regex, {regex}, is the name of another here")));
    }
    let differs = match portable(regex) {
        Ok(portable) => (portable.regex != regex).then(|| portable.parts.join(", ")),
        Err(error) => Some(error.message),
    };
    let pattern = Pattern::of_regex(regex).map_err(|error| foreign(error.message))?;
    Ok(Cut { pattern, differs })
}

//! Added tokens inside text: special ones only where the caller asks for them, the others always.

use aho_corasick::{AhoCorasick, MatchKind};

use super::vocab::Vocab;
use crate::error::{Error, Result};

/// Which special tokens in a text are more than text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    All,
    /// None: what looks like a special token is encoded as the text it is.
    None,
    /// None, and a text that holds one is refused.
    NoneRaise,
    These(Vec<String>),
}

/// Finds tokens, the leftmost first and the longest of those that start together.
struct Pass {
    automaton: AhoCorasick,
    ids: Vec<u32>,
}

impl Pass {
    fn new<'a>(tokens: impl IntoIterator<Item = &'a (String, u32)>) -> Option<Self> {
        let (texts, ids): (Vec<&str>, Vec<u32>) = tokens.into_iter().map(|(text, id)| (text.as_str(), *id)).unzip();
        let builder = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts);
        // building fails past 2 GB of text only
        let automaton = (!texts.is_empty()).then(builder)?.ok()?;
        Some(Self { automaton, ids })
    }
}

/// As in Hugging Face's `tokenizers`, the tokens that are "normalized" are looked for in what the others leave.
struct Passes {
    first: Option<Pass>,
    second: Option<Pass>,
}

impl Passes {
    fn new<'a>(vocab: &Vocab, tokens: impl Iterator<Item = &'a (String, u32)> + Clone) -> Self {
        let late = |token: &&(String, u32)| vocab.late.contains(&token.1);
        Self { first: Pass::new(tokens.clone().filter(|token| !late(token))), second: Pass::new(tokens.filter(late)) }
    }

    fn split(&self, text: &[u8], mut each: impl FnMut(&[u8], Option<u32>) -> Result<()>) -> Result<()> {
        pass(self.first.as_ref(), text, None, &mut |text, end| pass(self.second.as_ref(), text, end, &mut each))
    }
}

/// Takes a stretch of ordinary text, and the id of the token that ends it, if one does.
type Each<'a> = dyn FnMut(&[u8], Option<u32>) -> Result<()> + 'a;

/// Calls `each` with what stands between the tokens of a pass and the token after it, `end` after the last.
fn pass(tokens: Option<&Pass>, text: &[u8], end: Option<u32>, each: &mut Each<'_>) -> Result<()> {
    let mut from = 0;
    for found in tokens.iter().flat_map(|tokens| tokens.automaton.find_iter(text)) {
        let id = tokens.map(|tokens| tokens.ids[found.pattern().as_usize()]);
        each(&text[from..found.start()], id)?;
        from = found.end();
    }
    each(&text[from..], end)
}

/// Finds what is a token of its own in a text.
pub struct Finder {
    special: Option<Pass>,
    all: Passes,
    /// Those that are not special are tokens whatever is allowed.
    none: Passes,
}

impl Finder {
    pub fn new(vocab: &Vocab) -> Self {
        Self {
            special: Pass::new(&vocab.specials),
            all: Passes::new(vocab, vocab.specials.iter().chain(&vocab.added)),
            none: Passes::new(vocab, vocab.added.iter()),
        }
    }

    /// Calls `each` with every stretch of ordinary text and the id of the token that ends it, if one does.
    pub fn split(
        &self,
        text: &[u8],
        vocab: &Vocab,
        allowed: &Allowed,
        each: impl FnMut(&[u8], Option<u32>) -> Result<()>,
    ) -> Result<()> {
        match allowed {
            Allowed::None => self.none.split(text, each),
            Allowed::All => self.all.split(text, each),
            Allowed::NoneRaise => {
                if let Some(found) = self.special.as_ref().and_then(|special| special.automaton.find(text)) {
                    let name = &vocab.specials[found.pattern().as_usize()].0;
                    return Err(Error::usage(format!(
                        "the text holds the special token {name} at byte {}",
                        found.start()
                    ))
                    .hint("allow it by name, or encode it as text with allowed_special=\"none\""));
                }
                self.none.split(text, each)
            }
            Allowed::These(names) => {
                for name in names {
                    if !vocab.specials.iter().any(|special| special.0 == *name) {
                        let known: Vec<&str> = vocab.specials.iter().map(|special| special.0.as_str()).collect();
                        return Err(Error::usage(format!("{name} is not a special token of this tokenizer")).hint(
                            format!("it has {}", if known.is_empty() { "none".into() } else { known.join(", ") }),
                        ));
                    }
                }
                if names.is_empty() {
                    return self.none.split(text, each);
                }
                let chosen = vocab.specials.iter().filter(|special| names.contains(&special.0));
                Passes::new(vocab, chosen.chain(&vocab.added)).split(text, each)
            }
        }
    }
}

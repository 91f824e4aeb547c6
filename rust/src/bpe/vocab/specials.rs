//! Added tokens inside text: special ones only where the caller asks for them, the others always.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use aho_corasick::{AhoCorasick, MatchKind};

use crate::bpe::vocab::Vocab;
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
        let late = |token: &&(String, u32)| vocab.late.binary_search(&token.1).is_ok();
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

/// Sets of names whose passes are kept: a program asks for one or two of them, again and again.
const KEPT: usize = 4;

/// Names as a caller gave them, and what finds them.
type Named = (Vec<String>, Arc<Passes>);

/// Finds what is a token of its own in a text.
pub struct Finder {
    special: Option<Pass>,
    all: Arc<Passes>,
    /// Those that are not special are tokens whatever is allowed.
    none: Arc<Passes>,
    /// Those of the names that were asked for last, the latest at the end: making them takes longer than most texts.
    kept: Mutex<Vec<Named>>,
}

/// What is looked for in texts that allow the same.
pub struct Chosen<'a> {
    passes: Arc<Passes>,
    /// What a text may not hold, and its names.
    refused: Option<(&'a Pass, &'a [(String, u32)])>,
}

impl Finder {
    pub fn new(vocab: &Vocab) -> Self {
        Self {
            special: Pass::new(&vocab.specials),
            all: Arc::new(Passes::new(vocab, vocab.specials.iter().chain(&vocab.added))),
            none: Arc::new(Passes::new(vocab, vocab.added.iter())),
            kept: Mutex::default(),
        }
    }

    /// Fails where a name is none of a special token.
    pub fn choose<'a>(&'a self, vocab: &'a Vocab, allowed: &Allowed) -> Result<Chosen<'a>> {
        let passes = match allowed {
            Allowed::None | Allowed::NoneRaise => Arc::clone(&self.none),
            Allowed::All => Arc::clone(&self.all),
            Allowed::These(names) => self.named(vocab, names)?,
        };
        let refused = self.special.as_ref().filter(|_| *allowed == Allowed::NoneRaise);
        Ok(Chosen { passes, refused: refused.map(|special| (special, vocab.specials.as_slice())) })
    }

    fn named(&self, vocab: &Vocab, names: &[String]) -> Result<Arc<Passes>> {
        if names.is_empty() {
            return Ok(Arc::clone(&self.none));
        }
        if let Ok(mut kept) = self.kept.lock() {
            if let Some(place) = kept.iter().position(|(these, _)| these == names) {
                kept[place..].rotate_left(1);
                return Ok(Arc::clone(&kept[kept.len() - 1].1));
            }
        }
        let passes = self.made(vocab, names)?;
        if let Ok(mut kept) = self.kept.lock() {
            if kept.len() >= KEPT {
                kept.remove(0);
            }
            kept.push((names.to_vec(), Arc::clone(&passes)));
        }
        Ok(passes)
    }

    fn made(&self, vocab: &Vocab, names: &[String]) -> Result<Arc<Passes>> {
        let known: HashSet<&str> = vocab.specials.iter().map(|special| special.0.as_str()).collect();
        if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
            let known: Vec<&str> = vocab.specials.iter().map(|special| special.0.as_str()).collect();
            return Err(Error::usage(format!("{name} is not a special token of this tokenizer"))
                .hint(format!("it has {}", if known.is_empty() { "none".into() } else { known.join(", ") })));
        }
        let names: HashSet<&str> = names.iter().map(String::as_str).collect();
        if names.len() == known.len() {
            return Ok(Arc::clone(&self.all));
        }
        // a longer name that is not allowed must not hide a shorter one that is: those of `all` cannot be filtered
        let chosen = vocab.specials.iter().filter(|special| names.contains(special.0.as_str()));
        Ok(Arc::new(Passes::new(vocab, chosen.chain(&vocab.added))))
    }
}

impl Chosen<'_> {
    /// Calls `each` with every stretch of ordinary text and the id of the token that ends it, if one does.
    pub fn split(&self, text: &[u8], each: impl FnMut(&[u8], Option<u32>) -> Result<()>) -> Result<()> {
        if let Some((special, names)) = self.refused {
            if let Some(found) = special.automaton.find(text) {
                let name = &names[found.pattern().as_usize()].0;
                return Err(Error::usage(format!("the text holds the special token {name} at byte {}", found.start()))
                    .hint("allow it by name, or encode it as text with allowed_special=\"none\""));
            }
        }
        self.passes.split(text, each)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Pattern;

    #[test]
    fn the_same_names_are_made_ready_once() {
        let name = |number: usize| format!("<{number}>");
        let vocab = Vocab::from_merges(vec![], (0..9).map(name).collect(), Pattern::new("gpt2").unwrap()).unwrap();
        let finder = Finder::new(&vocab);
        let passes = |names: &[usize]| {
            let names = names.iter().copied().map(name).collect();
            finder.choose(&vocab, &Allowed::These(names)).unwrap().passes
        };
        let first = passes(&[3]);
        for other in 4..4 + KEPT - 1 {
            assert!(!Arc::ptr_eq(&first, &passes(&[other])));
            assert!(Arc::ptr_eq(&first, &passes(&[3])), "what was asked for of late stays");
        }
        assert!(Arc::ptr_eq(&finder.all, &passes(&[8, 7, 6, 5, 4, 3, 2, 1, 0, 0])));
        assert!(Arc::ptr_eq(&finder.none, &passes(&[])));
        (0..9).for_each(|other| drop(passes(&[other, 1])));
        assert_eq!(finder.kept.lock().unwrap().len(), KEPT);
        let wrong = finder.choose(&vocab, &Allowed::These(vec![name(3), name(9)]));
        assert_eq!(wrong.err().unwrap().message, "<9> is not a special token of this tokenizer");
    }
}

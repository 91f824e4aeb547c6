//! Special tokens inside text: found only where the caller asks for them.

use aho_corasick::{AhoCorasick, MatchKind};

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

/// Finds special tokens, the leftmost first and the longest of those that start together.
pub struct Finder {
    all: Option<AhoCorasick>,
}

fn automaton<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<AhoCorasick> {
    let texts: Vec<&str> = texts.into_iter().collect();
    let builder = || AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts);
    // building fails past 2 GB of text only
    (!texts.is_empty()).then(builder)?.ok()
}

impl Finder {
    pub fn new(specials: &[(String, u32)]) -> Self {
        Self { all: automaton(specials.iter().map(|special| special.0.as_str())) }
    }

    /// Calls `each` with every stretch of ordinary text and the id of the special token that ends it, if one does.
    pub fn split(
        &self,
        text: &[u8],
        specials: &[(String, u32)],
        allowed: &Allowed,
        mut each: impl FnMut(&[u8], Option<u32>),
    ) -> Result<()> {
        let mut from = 0;
        match allowed {
            Allowed::None => {}
            Allowed::NoneRaise => {
                if let Some(found) = self.all.as_ref().and_then(|all| all.find(text)) {
                    let name = &specials[found.pattern().as_usize()].0;
                    return Err(Error::usage(format!(
                        "the text holds the special token {name} at byte {}",
                        found.start()
                    ))
                    .hint("allow it by name, or encode it as text with allowed_special=\"none\""));
                }
            }
            Allowed::All => {
                for found in self.all.iter().flat_map(|all| all.find_iter(text)) {
                    each(&text[from..found.start()], Some(specials[found.pattern().as_usize()].1));
                    from = found.end();
                }
            }
            Allowed::These(names) => {
                let mut ids = Vec::with_capacity(names.len());
                for name in names {
                    let Some(special) = specials.iter().find(|special| special.0 == *name) else {
                        let known: Vec<&str> = specials.iter().map(|special| special.0.as_str()).collect();
                        return Err(Error::usage(format!("{name} is not a special token of this tokenizer")).hint(
                            format!("it has {}", if known.is_empty() { "none".into() } else { known.join(", ") }),
                        ));
                    };
                    ids.push(special.1);
                }
                let chosen = automaton(names.iter().map(String::as_str));
                for found in chosen.iter().flat_map(|chosen| chosen.find_iter(text)) {
                    each(&text[from..found.start()], Some(ids[found.pattern().as_usize()]));
                    from = found.end();
                }
            }
        }
        each(&text[from..], None);
        Ok(())
    }
}

//! Lists of words and phrases that a text should not have.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};

use crate::clean::words::class::{Classes, LETTER};
use crate::clean::words::Cut;
use crate::error::{Error, Result};

/// What the lists have and common words of a language are made of.
const ALLOWED: [&str; 4] = ["sm", "グロ", "女の子", "性"];

/// The names of the known lists of bad words, by the language that they are of.
const LISTS: &str = "arb:ar ara:ar ces:cs dan:da deu:de eng:en epo:eo spa:es fas:fa pes:fa prs:fa fin:fi fil:fil fra:fr \
                     hin:hi hun:hu ita:it jpn:ja kab:kab kor:ko nld:nl nob:no nno:no nor:no pol:pl por:pt rus:ru swe:sv \
                     tha:th tlh:tlh tur:tr zho:zh cmn:zh yue:zh";

/// Bad words by language, from a folder of `LANG.txt` or one file for all.
#[derive(Default)]
pub struct BadWords {
    every: Option<Arc<AhoCorasick>>,
    by_name: HashMap<String, Arc<AhoCorasick>>,
}

impl BadWords {
    pub fn read(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Ok(Self { every: Some(matcher(lines(path)?, path)?), by_name: HashMap::new() });
        }
        let entries = path.read_dir().map_err(|error| Error::io("read", path, &error))?;
        let mut by_name = HashMap::new();
        for entry in entries {
            let file = entry.map_err(|error| Error::io("read", path, &error))?.path();
            let name = file.file_stem().and_then(|name| name.to_str()).map(str::to_owned);
            if let (Some(name), true) = (name, file.extension().is_some_and(|extension| extension == "txt")) {
                by_name.insert(name, matcher(lines(&file)?, &file)?);
            }
        }
        if by_name.is_empty() {
            let said = format!("{} holds no list of bad words", path.display());
            return Err(Error::usage(said).hint("name its files by language: en.txt or eng_Latn.txt, one word a line"));
        }
        Ok(Self { every: None, by_name })
    }

    /// How often words of the language's list stand in `text`; None where the language has no list.
    pub fn count(&self, text: &str, language: &str) -> Option<usize> {
        let matcher = self.every.as_ref().or_else(|| self.of(language))?;
        let lower = text.to_lowercase();
        let apart = Cut::of(language) == Cut::Spaced;
        let stands = |found: &aho_corasick::Match| !apart || stands_apart(&lower, found.start(), found.end());
        Some(matcher.find_overlapping_iter(&lower).filter(stands).count())
    }

    fn of(&self, language: &str) -> Option<&Arc<AhoCorasick>> {
        let name = language.split(['_', '-']).next().unwrap_or(language);
        let short = LISTS.split_whitespace().filter_map(|pair| pair.split_once(':')).find(|pair| pair.0 == name);
        [language, name].into_iter().chain(short.map(|pair| pair.1)).find_map(|name| self.by_name.get(name))
    }
}

/// Whether neither neighbour is a letter, a number or `_`.
fn stands_apart(text: &str, start: usize, end: usize) -> bool {
    let inner =
        |character: char| character == '_' || character.is_numeric() || Classes::get().of(character) & LETTER != 0;
    !text[..start].chars().next_back().is_some_and(inner) && !text[end..].chars().next().is_some_and(inner)
}

fn lines(path: &Path) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))?;
    let words = text.lines().map(str::trim).filter(|word| !word.is_empty() && !ALLOWED.contains(word));
    Ok(words.map(str::to_owned).collect())
}

fn matcher(words: BTreeSet<String>, path: &Path) -> Result<Arc<AhoCorasick>> {
    let built = AhoCorasick::builder().match_kind(MatchKind::Standard).build(&words);
    built.map(Arc::new).map_err(|error| Error::data(format!("cannot use the list {}: {error}", path.display())))
}

/// Substrings as they are written, given and from a file.
pub fn banned(given: &[String], file: Option<&Path>) -> Result<Option<Arc<AhoCorasick>>> {
    let mut all: BTreeSet<String> = given.iter().filter(|substring| !substring.is_empty()).cloned().collect();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, &error))?;
        all.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
    }
    let path = file.unwrap_or(Path::new("of banned substrings"));
    if all.is_empty() {
        Ok(None)
    } else {
        matcher(all, path).map(Some)
    }
}

/// How often any of them stands in `text`.
pub fn count(matcher: &AhoCorasick, text: &str) -> usize {
    matcher.find_overlapping_iter(text).count()
}

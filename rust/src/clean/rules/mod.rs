//! The rules of Gopher, C4 and `FineWeb`: measures of a text, and the decision by thresholds.
//!
//! [`Rules::measure`] takes every measure of the families that were asked for, whether its rule is on or off, so that a
//! threshold changed later needs no second look at the text. [`Rules::decide`] names the first rule that fails, in the
//! order of the families and of their keys ([`keys`]). Measures, thresholds, order and names of reasons are those of
//! datatrove 0.10.1; tests hold both to the same decisions. C4's lines rewrite the text, and families after it measure
//! what it left.

mod c4;
mod counted;
mod fineweb;
mod gopher;
mod hash;
pub mod keys;
mod lines;
mod phrases;
mod repetition;
mod resolved;
pub mod settings;
mod stop_words;
mod table;
#[cfg(test)]
mod tests;
mod twice;
mod vocabulary;

use std::collections::HashMap;

pub use keys::{Comparison, Key, KEYS, NAMES};
pub use settings::{preset, Settings};

use crate::clean::words::class::{Classes, LETTER, MARK, SPACE};
use crate::error::Result;
use c4::Rewriter;
use counted::Words;
use keys::{key_place, measures_of_keys, place};
use lines::{characters, Repeats};
use repetition::Grams;
use resolved::Resolved;
use vocabulary::Vocabulary;

/// Every key, those of a family in the order in which it tries them.
pub fn keys() -> &'static [Key] {
    &KEYS
}

/// By the order of [`NAMES`]; NaN where it was not measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures([f64; NAMES.len()]);

impl Default for Measures {
    fn default() -> Self {
        Self([f64::NAN; NAMES.len()])
    }
}

impl Measures {
    pub fn values(&self) -> &[f64; NAMES.len()] {
        &self.0
    }

    /// Of values that were kept.
    pub fn from_values(values: [f64; NAMES.len()]) -> Self {
        Self(values)
    }

    fn set(&mut self, place: usize, value: f64) {
        self.0[place] = value;
    }
}

/// Why a document goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    pub reason: &'static str,
    pub key: &'static str,
    pub measure: f64,
    pub threshold: f64,
}

/// What a thread keeps between texts.
pub struct Scratch {
    words: Words,
    vocabulary: Vocabulary,
    numbers: Vec<u32>,
    repeats: Repeats,
    grams: Grams,
    rewriter: Rewriter,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            words: Words::new(),
            vocabulary: Vocabulary::default(),
            numbers: Vec::new(),
            repeats: Repeats::default(),
            grams: Grams::default(),
            rewriter: Rewriter::default(),
        }
    }
}

/// What is known of the text as it stands while families measure it.
#[derive(Default)]
struct Known {
    /// Whether the words that are laid out are its words, and whether they are numbered.
    laid_out: bool,
    numbered: bool,
    words: Option<usize>,
}

pub struct Rules {
    /// Places of the keys that decide, in order.
    order: Vec<usize>,
    families: Vec<String>,
    default: Resolved,
    languages: HashMap<String, Resolved>,
    measure_of: [usize; KEYS.len()],
}

impl Rules {
    pub fn new(settings: &Settings) -> Result<Self> {
        settings.check()?;
        let keys_of = |family: &String| {
            let family = family.clone();
            (0..KEYS.len()).filter(move |key| KEYS[*key].family == family && !KEYS[*key].measure.is_empty())
        };
        let languages = settings.languages.keys();
        let languages = languages.map(|name| Ok((name.clone(), Resolved::new(settings, Some(name))?)));
        Ok(Self {
            order: settings.families.iter().flat_map(keys_of).collect(),
            families: settings.families.clone(),
            default: Resolved::new(settings, None)?,
            languages: languages.collect::<Result<_>>()?,
            measure_of: measures_of_keys(),
        })
    }

    /// Its own, those of its script (`und_Hani`), or those of all languages.
    fn of(&self, language: &str) -> &Resolved {
        let own = self.languages.get(language);
        own.or_else(|| self.languages.get(&settings::of_script(language)?)).unwrap_or(&self.default)
    }

    /// Takes the measures of `text`; returns it as C4's lines rewrite it, if they change it.
    pub fn measure(&self, text: &str, language: &str, scratch: &mut Scratch, out: &mut Measures) -> Option<String> {
        *out = Measures::default();
        let rules = self.of(language);
        let mut rewritten: Option<String> = None;
        let mut known = Known::default();
        for family in &self.families {
            let now = rewritten.as_deref().unwrap_or(text);
            if family == "c4" {
                scratch.lay_out(now, &mut known);
                scratch.rewriter.measure(now, &scratch.words, &rules.c4, out);
                if scratch.rewriter.text != now {
                    rewritten = Some(scratch.rewriter.text.clone());
                    known = Known { words: Some(scratch.rewriter.words), ..Known::default() };
                }
            } else {
                scratch.family(family, now, language, rules, &mut known, out);
            }
        }
        rewritten
    }

    /// The first rule that fails; None where the document stays.
    pub fn decide(&self, language: &str, measures: &Measures) -> Option<Decision> {
        let rules = self.of(language);
        let value = |key: usize| measures.0[self.measure_of[key]];
        let fails = |key: usize| {
            let (value, threshold) = (value(key), rules.thresholds[key]?);
            let fails = match KEYS[key].comparison {
                Comparison::Below => value < threshold,
                Comparison::Above => value > threshold,
                Comparison::Option => false,
            };
            fails.then_some(threshold)
        };
        let excused = |key: usize| match KEYS[key].key {
            // The bracket came first, in an earlier line.
            "c4.lorem_ipsum" => {
                key_place("c4.curly_bracket").is_some_and(|other| fails(other).is_some() && value(other) > value(key))
            }
            "fineweb.line_punct_ratio" => rules.exclude_zero && value(key) == 0.0,
            _ => false,
        };
        self.order.iter().find_map(|key| {
            let threshold = fails(*key).filter(|_| !excused(*key))?;
            Some(Decision { reason: KEYS[*key].reason, key: KEYS[*key].key, measure: value(*key), threshold })
        })
    }
}

impl Scratch {
    fn lay_out(&mut self, text: &str, known: &mut Known) {
        if !known.laid_out {
            self.words.lay_out(text);
            *known = Known { laid_out: true, numbered: false, words: Some(self.words.count()) };
        }
    }

    fn number(&mut self, text: &str, known: &mut Known) {
        self.lay_out(text, known);
        if !known.numbered {
            self.vocabulary.number(&self.words, &mut self.numbers);
            known.numbered = true;
        }
    }

    fn count_words(&mut self, text: &str, known: &mut Known) -> usize {
        if known.words.is_none() {
            self.lay_out(text, known);
        }
        known.words.unwrap_or(0)
    }

    fn family(
        &mut self,
        family: &str,
        text: &str,
        language: &str,
        rules: &Resolved,
        known: &mut Known,
        out: &mut Measures,
    ) {
        match family {
            "gopher_repetition" => {
                let length = characters(text);
                self.number(text, known);
                repetition::lines(text, length, &mut self.repeats, out);
                self.grams.measure(&self.words, &self.numbers, length, out);
            }
            "gopher" => {
                self.number(text, known);
                let stop_words = rules.stop_words.count(&self.vocabulary);
                gopher::measure(text, &self.words, stop_words, out);
            }
            "fineweb" => {
                let words = self.count_words(text, known);
                fineweb::measure(text, words, rules.short_line, &mut self.repeats, out);
            }
            "c4_paragraph" => out.set(place("c4_paragraph.third_longest_line"), third_longest_line(text) as f64),
            "bad_words" => {
                let found = rules.bad_words.as_ref().and_then(|words| words.count(text, language));
                out.set(place("bad_words.count"), found.map_or(f64::NAN, |count| count as f64));
            }
            "length" => {
                out.set(place("length.characters"), characters(text) as f64);
                out.set(place("length.words"), self.count_words(text, known) as f64);
            }
            "banned" => {
                let found = rules.banned.as_ref().map_or(0, |matcher| phrases::count(matcher, text));
                out.set(place("banned.count"), found as f64);
            }
            "symbols" => symbols(text, out),
            _ => unreachable!("the settings were checked"),
        }
    }
}

/// mC4 wants three long lines: the length of the third longest, zero where there are fewer.
fn third_longest_line(text: &str) -> usize {
    let mut longest = [0; 3];
    let mut lines = 0;
    for line in fineweb::newlines(text) {
        lines += 1;
        longest[0] = longest[0].max(characters(line));
        longest.sort_unstable();
    }
    if lines < 3 {
        0
    } else {
        longest[0]
    }
}

/// The shares of signs and of digits among the characters that are not white space.
fn symbols(text: &str, out: &mut Measures) {
    let classes = Classes::get();
    let (mut all, mut signs, mut digits) = (0, 0, 0);
    for character in text.chars() {
        let class = classes.of(character);
        let digit = class & LETTER == 0 && character.is_numeric();
        all += usize::from(class & SPACE == 0);
        digits += usize::from(digit);
        signs += usize::from(class & (SPACE | LETTER | MARK) == 0 && !digit);
    }
    if all > 0 {
        out.set(place("symbols.symbol_ratio"), signs as f64 / all as f64);
        out.set(place("symbols.digit_ratio"), digits as f64 / all as f64);
    }
}

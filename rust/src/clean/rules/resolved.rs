//! The rules of one language, ready to be used.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::c4;
use super::keys::{key_place, KEYS};
use super::phrases::{self, BadWords};
use super::settings::Settings;
use super::stop_words::StopWords;
use crate::error::{Error, Result};

pub struct Resolved {
    /// By key; None is off, and so is every option.
    pub thresholds: [Option<f64>; KEYS.len()],
    pub stop_words: StopWords,
    pub short_line: f64,
    pub exclude_zero: bool,
    pub c4: c4::Options,
    pub bad_words: Option<Arc<BadWords>>,
    pub banned: Option<Arc<AhoCorasick>>,
}

impl Resolved {
    pub fn new(settings: &Settings, language: Option<&str>) -> Result<Self> {
        let value = |key: &str| settings.value(language, &KEYS[key_place(key).expect("a key of the table")]);
        let number = |key: &str| value(key).as_f64();
        let switch = |key: &str| value(key) == Value::Bool(true);
        let path = |key: &str| value(key).as_str().map(PathBuf::from);
        let strings = |key: &str| -> Vec<String> { serde_json::from_value(value(key)).unwrap_or_default() };
        let asked = |family: &str| settings.families.iter().any(|name| name == family);
        let bad_words = path("bad_words.file").filter(|_| asked("bad_words"));
        let banned_file = path("banned.file");
        let banned = asked("banned").then(|| phrases::banned(&strings("banned.substrings"), banned_file.as_deref()));
        let resolved = Self {
            thresholds: KEYS.map(|key| if key.measure.is_empty() { None } else { number(key.key) }),
            stop_words: StopWords::new(strings("gopher.stop_word_list").iter().map(String::as_str)),
            short_line: number("fineweb.short_line_length").unwrap_or(0.0),
            exclude_zero: switch("fineweb.line_punct_exclude_zero"),
            c4: c4::Options {
                longest_word: number("c4.max_word_length"),
                citations: switch("c4.citations"),
                terminal_punctuation: switch("c4.terminal_punctuation"),
                fewest_words: number("c4.min_words_per_line"),
                javascript: switch("c4.javascript"),
                policy: switch("c4.policy"),
            },
            bad_words: bad_words.as_deref().map(read).transpose()?,
            banned: banned.transpose()?.flatten(),
        };
        resolved.checked(&asked)
    }

    /// A family that was asked for and has nothing to go by would pass everything in silence.
    fn checked(self, asked: &dyn Fn(&str) -> bool) -> Result<Self> {
        let lengths = ["min_characters", "max_characters", "min_words", "max_words"];
        let bounded = |name: &str| {
            let place = key_place(&format!("length.{name}")).expect("a key of the table");
            self.thresholds[place].is_some()
        };
        let missing = [
            ("length", lengths.into_iter().any(bounded), "length.min_characters=200"),
            ("bad_words", self.bad_words.is_some(), "bad_words.file=FOLDER"),
            ("banned", self.banned.is_some(), "banned.file=FILE"),
        ];
        for (family, given, hint) in missing {
            if asked(family) && !given {
                let said = format!("the rules of {family} have nothing to go by");
                return Err(Error::usage(said).hint(format!("say for example {hint}")));
            }
        }
        Ok(self)
    }
}

fn read(path: &Path) -> Result<Arc<BadWords>> {
    BadWords::read(path).map(Arc::new)
}

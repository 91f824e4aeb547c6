//! Which rules, and where they draw the line: as it is written in a configuration, by name, and checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::keys::{key_place, Key, Takes, FAMILIES, KEYS};
use crate::error::{Error, Result};
use crate::spelling::changes;

pub const PRESETS: [&str; 5] = ["fineweb", "fineweb2", "gopher", "c4", "none"];

/// Families in the order in which they judge, thresholds by key for all languages, and others by language. A key that is
/// not named has its default; null is off.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    #[serde(default)]
    pub families: Vec<String>,
    #[serde(default)]
    pub default: Map<String, Value>,
    #[serde(default)]
    pub languages: BTreeMap<String, Map<String, Value>>,
}

/// The rules of a name.
pub fn preset(name: &str) -> Result<Settings> {
    let (families, changed): (&[&str], &[(&str, Value)]) = match name {
        "fineweb" => {
            (&["gopher_repetition", "gopher", "c4", "fineweb"], &[("c4.terminal_punctuation", Value::Bool(false))])
        }
        "fineweb2" => (
            &["gopher_repetition", "fineweb", "gopher"],
            &[
                ("repetition.dup_para_frac", Value::Null),
                ("repetition.dup_para_char_frac", Value::Null),
                ("repetition.dup_line_char_frac", Value::Null),
                ("fineweb.short_line_ratio", Value::Null),
                ("fineweb.char_dup_ratio", Value::from(0.1)),
            ],
        ),
        "gopher" => (&["gopher_repetition", "gopher"], &[]),
        "c4" => (&["c4"], &[]),
        "none" => (&[], &[]),
        _ => return Err(unknown("set of rules", name, &PRESETS)),
    };
    let families = families.iter().map(|family| (*family).to_owned()).collect();
    let default = changed.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Ok(Settings { families, default, languages: BTreeMap::new() })
}

impl Settings {
    pub fn from_json(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| Error::usage(format!("these are no settings of rules: {error}")))
    }

    /// Sets a key for all languages that have no own value, and asks for its family where nobody did.
    pub fn set(&mut self, key: &str, value: Value) -> Result<()> {
        let known = &KEYS[found(key)?];
        check(known, &value)?;
        if !self.families.iter().any(|family| family == known.family) {
            self.families.push(known.family.to_owned());
        }
        self.default.insert(key.to_owned(), value);
        Ok(())
    }

    /// The same rules with every key of their families said.
    #[must_use]
    pub fn full(&self) -> Self {
        let mut full = self.clone();
        for key in KEYS.iter().filter(|key| self.families.iter().any(|family| family == key.family)) {
            full.default.entry(key.key).or_insert_with(|| by_default(key));
        }
        full
    }

    /// Whether a language has thresholds, its own or those of its script.
    pub fn has(&self, language: &str) -> bool {
        let known = |code: &str| self.languages.contains_key(code);
        known(language) || of_script(language).is_some_and(|script| known(&script))
    }

    /// Errors unless every family and key is known and every value is one that its key takes.
    pub fn check(&self) -> Result<()> {
        for (at, family) in self.families.iter().enumerate() {
            if !FAMILIES.contains(&family.as_str()) {
                return Err(unknown("family of rules", family, &FAMILIES));
            }
            if self.families[..at].contains(family) {
                return Err(Error::usage(format!("the family of rules {family} is named twice")));
            }
        }
        for (key, value) in self.languages.values().chain([&self.default]).flatten() {
            check(&KEYS[found(key)?], value)?;
        }
        Ok(())
    }

    /// The value of `key` for a language.
    pub(super) fn value(&self, language: Option<&str>, key: &Key) -> Value {
        let own = language.and_then(|language| self.languages.get(language)?.get(key.key));
        own.or_else(|| self.default.get(key.key)).cloned().unwrap_or_else(|| by_default(key))
    }
}

/// Where the thresholds of a language's script stand: `und_Hani` for `wuu_Hani`.
pub(super) fn of_script(language: &str) -> Option<String> {
    language.get(4..).map(|script| format!("und_{script}"))
}

fn by_default(key: &Key) -> Value {
    match key.takes {
        Takes::Number(number) => Value::from(number),
        Takes::Switch(on) => Value::from(on),
        Takes::Strings(strings) => Value::from(strings.to_vec()),
        Takes::Path => Value::Null,
    }
}

fn found(key: &str) -> Result<usize> {
    key_place(key).ok_or_else(|| unknown("rule", key, &KEYS.map(|known| known.key)))
}

fn check(key: &Key, value: &Value) -> Result<()> {
    let strings = |value: &Value| value.as_array().is_some_and(|list| list.iter().all(Value::is_string));
    let (fits, takes) = match key.takes {
        Takes::Number(_) => (value.is_number() || value.is_null(), "a number or null"),
        Takes::Switch(_) => (value.is_boolean() || value.is_null(), "true, false or null"),
        Takes::Strings(_) => (strings(value), "a list of strings"),
        Takes::Path => (value.is_string() || value.is_null(), "a path or null"),
    };
    if fits {
        Ok(())
    } else {
        Err(Error::usage(format!("the rule {} takes {takes}, not {value}", key.key)))
    }
}

/// One sentence with the name that is nearest.
fn unknown(what: &str, name: &str, known: &[&str]) -> Error {
    let nearest = known.iter().min_by_key(|known| changes(known, name)).expect("some are known");
    Error::usage(format!("there is no {what} {name}")).hint(format!("the nearest is {nearest}"))
}

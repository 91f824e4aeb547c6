//! A language's code as FineWeb-2 writes it.

use std::fmt;

use super::names::NAMES;
use super::script::Script;

/// A language and its script: ISO 639-3, `_`, ISO 15924.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language([u8; 8]);

impl Language {
    pub const UNKNOWN: Self = Self(*b"und_Zzzz");

    /// The language that a classifier's label names: `__label__en`, `__label__eng_Latn`, with or without the mark.
    /// Where a language is written in several scripts and the label does not say which, the text does.
    pub fn of(label: &str, text: &str) -> Self {
        let label = label.strip_prefix("__label__").unwrap_or(label);
        if let Some(code) = Self::parse(label) {
            return code;
        }
        let mut named = NAMES.iter().filter(|name| name.label == label);
        let Some(first) = named.next() else { return Self::UNKNOWN };
        let mut others = named.peekable();
        if others.peek().is_none() {
            return first.code;
        }
        let script = Script::of(text).code();
        others.map(|name| name.code).find(|code| code.script() == script).unwrap_or(first.code)
    }

    /// The code that is written so; none where it is no code.
    pub fn parse(written: &str) -> Option<Self> {
        let bytes: [u8; 8] = written.as_bytes().try_into().ok()?;
        let shaped = bytes[..3].iter().all(u8::is_ascii_lowercase)
            && bytes[3] == b'_'
            && bytes[4].is_ascii_uppercase()
            && bytes[5..].iter().all(u8::is_ascii_lowercase);
        shaped.then_some(Self(bytes))
    }

    /// Whether it names a language, and not only a script.
    pub fn is_known(&self) -> bool {
        !self.as_str().starts_with("und_")
    }

    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("und_Zzzz")
    }

    pub fn script(&self) -> &str {
        &self.as_str()[4..]
    }

    /// Its name in English, or its code where none is known.
    pub fn name(&self) -> &str {
        NAMES.iter().find(|name| name.code == *self).map_or_else(|| self.as_str(), |name| name.english)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

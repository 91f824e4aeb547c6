//! Languages by code, by the label of fastText's own models and by name.

use std::sync::LazyLock;

use super::Language;

pub struct Name {
    pub code: Language,
    /// What lid.176 calls it: two letters where the language has them.
    pub label: &'static str,
    pub english: &'static str,
}

/// A line each: code, label, name. Of a label's lines the first is taken where the text's script tells nothing.
pub static NAMES: LazyLock<Vec<Name>> = LazyLock::new(|| include_str!("names.txt").lines().map(read).collect());

fn read(line: &'static str) -> Name {
    let mut parts = line.splitn(3, ' ');
    let mut part = || parts.next().expect("code, label and name");
    Name { code: Language::parse(part()).expect("a code"), label: part(), english: part() }
}

/// The word among `known` that is spelled most like `word`.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (crate::spelling::changes(name, word), name));
    near.filter(|(changes, name)| *changes <= 2 && changes * 2 <= name.chars().count())
        .min_by_key(|(changes, _)| *changes)
        .map(|(_, name)| name)
}

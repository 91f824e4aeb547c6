//! What each character is to those who compare words, in one table that is filled when it is first needed.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};
use unicode_normalization::UnicodeNormalization;

/// The table ends before the third plane: what lies above is Han, or nothing that is written.
const END: usize = 0x2_0000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Ends a word: blanks, punctuation, symbols and controls.
    Between,
    /// As if it were not there: marks that take no place, joiners, soft hyphens.
    Nothing,
    Digit,
    /// One of those that may stand between two numbers that count as one; ends a word elsewhere.
    Point,
    /// A word by itself: writing without blanks.
    Alone(char),
    /// Part of a word, as this character.
    Letter(char),
    /// Part of a word, as several characters: [`folded`].
    Several,
}

static TABLE: LazyLock<Vec<Role>> = LazyLock::new(build);

/// A character's role.
pub fn role(c: char) -> Role {
    let beyond = match c {
        '\u{2_0000}'..='\u{3_ffff}' => Role::Alone(c),
        '\u{e_0000}'..='\u{e_0fff}' => Role::Nothing,
        _ => Role::Letter(c),
    };
    TABLE.get(c as usize).copied().unwrap_or(beyond)
}

/// The table itself, for who looks up many.
pub fn table() -> &'static [Role] {
    &TABLE
}

/// A character without case and marks: decomposed, lowered, raised and lowered, so that `ẞ` and `ß` are `ss`, and a
/// final `ς` is a `σ`.
pub fn folded(c: char) -> impl Iterator<Item = char> {
    let plain = |c: &char| !is_mark(*c);
    let lowered = c.nfd().filter(plain).flat_map(char::to_lowercase);
    lowered.flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfd().filter(plain)
}

/// `\p{Mn}`, asked of few.
fn is_mark(c: char) -> bool {
    static MARKS: LazyLock<Vec<(char, char)>> = LazyLock::new(|| ranges(r"\p{Mn}"));
    let after = MARKS.partition_point(|range| range.0 <= c);
    after > 0 && c <= MARKS[after - 1].1
}

fn ranges(class: &str) -> Vec<(char, char)> {
    let hir = regex_syntax::parse(class).expect("a class of the regex engine");
    let HirKind::Class(Class::Unicode(ranges)) = hir.kind() else { unreachable!("{class} is a class") };
    ranges.iter().map(|range| (range.start(), range.end())).collect()
}

fn build() -> Vec<Role> {
    let letter = |point: usize| {
        let Some(c) = char::from_u32(point as u32) else { return Role::Between };
        let mut folded = folded(c);
        match (folded.next(), folded.next()) {
            (None, _) => Role::Nothing,
            (Some(one), None) => Role::Letter(one),
            _ => Role::Several,
        }
    };
    let mut table: Vec<Role> = (0..END).map(letter).collect();
    let mut fill = |class: &str, of: &dyn Fn(Role) -> Role| {
        for (first, last) in ranges(class) {
            let range = (first as usize).min(END)..(last as usize + 1).min(END);
            table[range].iter_mut().for_each(|role| *role = of(*role));
        }
    };
    let alone = |role| match role {
        Role::Letter(c) => Role::Alone(c),
        other => other,
    };
    fill(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}ー]", &alone);
    fill(r"[\p{P}\p{S}\p{Z}\p{Cc}]", &|_| Role::Between);
    fill(r"[\p{Cf}\p{Mn}\p{Me}]", &|_| Role::Nothing);
    fill(r"\p{Nd}", &|_| Role::Digit);
    fill("[.,،٫⎖⎗⎘]", &|_| Role::Point);
    table
}

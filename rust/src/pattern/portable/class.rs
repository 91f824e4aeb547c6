//! Classes, properties and characters by number, spelled so that both engines read them alike.

use regex_syntax::hir::{Class, HirKind};

use super::{refuse, Flags, Reader, DEEPEST};
use crate::error::Result;

/// What regex engines of Rust call a word character, in words that both read alike. `\w` there holds the fractions and
/// superscripts of Latin-1, and not the two joiners.
pub(super) const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}";
/// Properties that both know by these names, and of which every character was compared.
const ALIKE: [&str; 56] = [
    "L",
    "Lu",
    "Ll",
    "Lt",
    "Lm",
    "Lo",
    "M",
    "Mn",
    "Mc",
    "Me",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Ps",
    "Pe",
    "Pi",
    "Pf",
    "Po",
    "S",
    "Sm",
    "Sc",
    "Sk",
    "So",
    "Z",
    "Zs",
    "Zl",
    "Zp",
    "C",
    "Cc",
    "Cf",
    "Cn",
    "Co",
    "Letter",
    "Alphabetic",
    "Uppercase",
    "White_Space",
    "Han",
    "Hiragana",
    "Katakana",
    "Hangul",
    "Latin",
    "Greek",
    "Cyrillic",
    "Arabic",
    "Hebrew",
    "Thai",
    "Devanagari",
    "Emoji",
    "Armenian",
    "Georgian",
    "Bengali",
    "Tamil",
];

impl Reader<'_> {
    /// `\p{L}` after its `\p`; what is not known to be alike is spelled out as ranges.
    pub(super) fn property(&mut self, from: usize, flags: Flags) -> Result<String> {
        let start = self.at;
        let name = if self.eat("{") {
            let end = self.rest().find('}').ok_or_else(|| refuse(&self.pattern[from..], "is not closed"))?;
            self.at += end + 1;
            &self.pattern[start + 1..=start + end]
        } else {
            self.next();
            &self.pattern[start..self.at]
        };
        let regex = if ALIKE.contains(&name) && !flags.any_case {
            format!("{}{{{name}}}", &self.pattern[from..start])
        } else {
            self.ranges(from, &self.pattern[from..self.at], flags.any_case)?
        };
        Ok(self.spelled(from, regex))
    }

    /// The character of `\x41`, `\x{41}`, `\u0041`, `\u{41}`, `\U00000041` after its letter.
    pub(super) fn code(&mut self, from: usize, letter: char) -> Result<char> {
        let digits = if self.eat("{") {
            let end = self.rest().find('}').ok_or_else(|| refuse(&self.pattern[from..], "is not closed"))?;
            let digits = &self.rest()[..end];
            self.at += end + 1;
            digits
        } else {
            let length = match letter {
                'x' => 2,
                'u' => 4,
                _ => 8,
            };
            let digits = self.rest().get(..length).unwrap_or_default();
            self.at += digits.len();
            digits
        };
        let code = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| refuse(&self.pattern[from..self.at], "is no character"))
    }

    pub(super) fn code_spelled(&mut self, from: usize, one: char) -> String {
        // `\xE9` is a byte there
        let written = &self.pattern[from..self.at];
        let braces = written.starts_with(r"\x{");
        let same = written.starts_with(r"\x") && (braces || one.is_ascii());
        let regex = if same { written.to_owned() } else { format!("\\x{{{:X}}}", u32::from(one)) };
        self.spelled(from, regex)
    }

    /// A class after its `[`.
    pub(super) fn class(&mut self, from: usize, flags: Flags) -> Result<String> {
        let parts = self.parts.len();
        let (regex, plain) = self.items(from)?;
        if plain && !flags.any_case {
            return Ok(regex);
        }
        self.parts.truncate(parts);
        let regex = self.ranges(from, &self.pattern[from..self.at], flags.any_case)?;
        Ok(self.spelled(from, regex))
    }

    /// The items of a class up to its end, and whether they are no more than a union.
    fn items(&mut self, from: usize) -> Result<(String, bool)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(refuse(self.rest(), "lies in too many classes"));
        }
        let mut out = "[".to_owned();
        let mut plain = true;
        if self.eat("^") {
            out.push('^');
        }
        let first = self.at;
        loop {
            let at = self.at;
            if self.rest().starts_with("&&") || self.rest().starts_with("--") || self.rest().starts_with("~~") {
                self.at += 2;
                plain = false;
                continue;
            }
            let Some(next) = self.next() else { return Err(refuse(&self.pattern[from..], "is not closed")) };
            match next {
                ']' if at > first => break,
                '[' if self.rest().starts_with(':') => {
                    let end = self.rest().find(":]").ok_or_else(|| refuse(&self.pattern[at..], "is not closed"))?;
                    self.at += end + 2;
                    let written = &self.pattern[at..self.at];
                    let (negated, name) = written[2..written.len() - 2]
                        .strip_prefix('^')
                        .map_or_else(|| (false, &written[2..written.len() - 2]), |name| (true, name));
                    let ascii = posix(name).ok_or_else(|| refuse(written, "is no class that is known here"))?;
                    let regex = if negated { format!("[^{ascii}]") } else { ascii.to_owned() };
                    out.push_str(&self.spelled(at, regex));
                }
                '[' => {
                    let (inner, alone) = self.items(at)?;
                    plain &= alone;
                    out.push_str(&inner);
                }
                _ => out.push_str(&self.item(at, next, first)?),
            }
        }
        out.push(']');
        self.depth -= 1;
        Ok((out, plain))
    }

    /// A character, a range or a class of one letter.
    fn item(&mut self, at: usize, next: char, first: usize) -> Result<String> {
        let (low, single) = self.member(at, next, first)?;
        let ranged = self.rest().strip_prefix('-').is_some_and(|rest| !rest.starts_with([']', '-']));
        if !single || !ranged {
            return Ok(low);
        }
        self.at += 1;
        let at = self.at;
        let Some(next) = self.next() else { return Err(refuse("-", "begins a range without an end")) };
        let (high, single) = self.member(at, next, usize::MAX)?;
        if !single || next == '[' {
            return Err(refuse(&self.pattern[at..self.at], "is no end of a range"));
        }
        Ok(format!("{low}-{high}"))
    }

    /// A member of a class, and whether it is one character.
    fn member(&mut self, at: usize, next: char, first: usize) -> Result<(String, bool)> {
        if next != '\\' {
            let written = &self.pattern[at..self.at];
            let edge = at == first || self.rest().starts_with(']');
            return Ok(match next {
                ']' => (self.spelled(at, r"\]".to_owned()), true),
                '-' if !edge => (self.spelled(at, r"\-".to_owned()), true),
                _ => (written.to_owned(), true),
            });
        }
        let Some(one) = self.next() else { return Err(refuse("\\", "ends it")) };
        Ok(match one {
            'd' | 'D' | 's' | 'S' => (self.pattern[at..self.at].to_owned(), false),
            't' | 'n' | 'r' | 'f' | 'v' | 'a' => (self.pattern[at..self.at].to_owned(), true),
            'w' => (self.spelled(at, WORD.to_owned()), false),
            'W' => (self.spelled(at, format!("[^{WORD}]")), false),
            'p' | 'P' => (self.property(at, Flags::default())?, false),
            'x' | 'u' | 'U' => {
                let one = self.code(at, one)?;
                (self.code_spelled(at, one), true)
            }
            _ if one.is_ascii_alphanumeric() || !one.is_ascii() => {
                return Err(refuse(
                    &self.pattern[at..self.at],
                    "is read by other engines in another way, or not at all",
                ))
            }
            _ => (self.pattern[at..self.at].to_owned(), true),
        })
    }

    /// The characters of a class as ranges of their numbers.
    pub(super) fn ranges(&self, from: usize, class: &str, any_case: bool) -> Result<String> {
        let wrong = || refuse(&self.pattern[from..self.at], "cannot be spelled as characters");
        let parsed = regex_syntax::ParserBuilder::new().case_insensitive(any_case).build().parse(class);
        let ranges: Vec<(char, char)> = match parsed.map_err(|_| wrong())?.into_kind() {
            HirKind::Class(Class::Unicode(class)) => class.iter().map(|range| (range.start(), range.end())).collect(),
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).map_err(|_| wrong())?;
                let mut chars = text.chars();
                match (chars.next(), chars.next()) {
                    (Some(one), None) => return Ok(spelled_character(one)),
                    _ => return Err(wrong()),
                }
            }
            _ => return Err(wrong()),
        };
        if ranges.is_empty() {
            return Ok(r"[^\s\S]".to_owned());
        }
        let mut out = "[".to_owned();
        for (start, end) in ranges {
            out.push_str(&spelled_character(start));
            if start != end {
                out.push('-');
                out.push_str(&spelled_character(end));
            }
        }
        out.push(']');
        Ok(out)
    }
}

fn spelled_character(one: char) -> String {
    if one.is_ascii_alphanumeric() || "'\" ".contains(one) {
        one.to_string()
    } else {
        format!("\\x{{{:X}}}", u32::from(one))
    }
}

pub(super) fn escaped(one: char) -> String {
    format!("\\x{{{:X}}}", u32::from(one))
}

/// What Rust's engines take `[:name:]` for.
fn posix(name: &str) -> Option<&'static str> {
    Some(match name {
        "alnum" => "0-9A-Za-z",
        "alpha" => "A-Za-z",
        "ascii" => r"\x00-\x7F",
        "blank" => r"\t ",
        "cntrl" => r"\x00-\x1F\x7F",
        "digit" => "0-9",
        "graph" => "!-~",
        "lower" => "a-z",
        "print" => " -~",
        "punct" => r"!-/:-@\x5B-`\x7B-~",
        "space" => r"\t\n\v\f\r ",
        "upper" => "A-Z",
        "word" => "0-9A-Za-z_",
        "xdigit" => "0-9A-Fa-f",
        _ => return None,
    })
}

//! Whether a regex means the same in Hugging Face's engine (Oniguruma, Ruby's syntax), and a spelling that does.
//!
//! What both engines read alike is taken over as it stands, what they read in two ways is spelled out, and all else is
//! refused by name. Both hold the same version of Unicode, so that `\p{L}` and `\s` are the same characters; `\w` and
//! `[[:alpha:]]` are not, `^` is the start of every line there, `(?i)` lets one letter stand for two, and `{1,3}+`
//! repeats a repeat.

use regex_syntax::hir::{Class, HirKind};

use super::names::Named;
use crate::error::{Error, Result};

/// What regex engines of Rust call a word character, in words that both read alike. `\w` there holds the fractions and
/// superscripts of Latin-1, and not the two joiners.
const WORD: &str = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}";
/// Groups inside groups that are followed.
const DEEPEST: usize = 100;
/// Oniguruma's largest count of a repeat.
const MOST: u32 = 100_000;
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
/// Letters that some single character stands for where case does not count: ß, ﬀ, ﬁ, ﬂ, ﬆ.
const JOINED: [&str; 5] = ["ss", "ff", "fi", "fl", "st"];

/// A regex that both engines read alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Portable {
    pub regex: String,
    /// What had to be spelled in another way, as it was written.
    pub parts: Vec<String>,
}

/// A spelling of `pattern`, a regex as Rust's engines read it, that Oniguruma reads alike; an error names what has none.
pub fn portable(pattern: &str) -> Result<Portable> {
    let known = Named::ALL.into_iter().find(|named| [named.regex(), named.portable_regex()].contains(&pattern));
    if let Some(named) = known {
        let regex = named.portable_regex().to_owned();
        let parts = if regex == pattern { Vec::new() } else { vec![pattern.to_owned()] };
        return Ok(Portable { regex, parts });
    }
    let mut reader = Reader { pattern, at: 0, depth: 0, parts: Vec::new() };
    let (regex, _) = reader.alternatives(Flags::default(), false)?;
    if reader.at < pattern.len() {
        return Err(refuse(&pattern[reader.at..], "closes a group that was not opened"));
    }
    Ok(Portable { regex, parts: reader.parts })
}

/// The flags that a spelling can do without.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Flags {
    any_case: bool,
    lines: bool,
    dot_all: bool,
}

struct Reader<'a> {
    pattern: &'a str,
    at: usize,
    depth: usize,
    parts: Vec<String>,
}

fn refuse(part: &str, why: &str) -> Error {
    let part: String = part.chars().take(40).collect();
    Error::usage(format!("the pattern's {part} {why}"))
        .hint("spell it in another way; gpt2, cl100k, llama3, qwen2, o200k are patterns that every reader knows")
}

/// What one atom came to.
struct Atom {
    regex: String,
    /// Whether it may match nothing.
    empty: bool,
    /// Whether it looks and takes nothing, so that no repeat may follow.
    looks: bool,
}

impl Atom {
    fn of(regex: impl Into<String>) -> Self {
        Self { regex: regex.into(), empty: false, looks: false }
    }

    fn looking(regex: impl Into<String>) -> Self {
        Self { regex: regex.into(), empty: true, looks: true }
    }
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.pattern[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.rest().starts_with(what);
        self.at += if found { what.len() } else { 0 };
        found
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Notes that `part`, which was read from `from` on, is spelled as `regex`.
    fn spelled(&mut self, from: usize, regex: String) -> String {
        let part = &self.pattern[from..self.at];
        if part != regex && !self.parts.iter().any(|known| known == part) {
            self.parts.push(part.to_owned());
        }
        regex
    }

    /// Alternatives up to the end or a closing parenthesis, and whether they may match nothing.
    fn alternatives(&mut self, flags: Flags, behind: bool) -> Result<(String, bool)> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(refuse(self.rest(), "lies in too many groups"));
        }
        let (mut out, mut flags, mut empty, mut nothing_yet) = (String::new(), flags, false, true);
        while let Some(next) = self.peek() {
            match next {
                ')' => break,
                '|' => {
                    self.at += 1;
                    out.push('|');
                    empty |= nothing_yet;
                    nothing_yet = true;
                }
                _ => {
                    let Some(atom) = self.atom(&mut flags, behind)? else { continue };
                    let atom = self.repeated(atom, behind)?;
                    nothing_yet &= atom.empty;
                    out.push_str(&atom.regex);
                }
            }
        }
        self.depth -= 1;
        Ok((out, empty || nothing_yet))
    }

    /// One atom; None for flags, which are spelled out in what follows.
    fn atom(&mut self, flags: &mut Flags, behind: bool) -> Result<Option<Atom>> {
        let from = self.at;
        let atom = match self.next().unwrap_or_default() {
            '(' => return self.group(from, flags, behind),
            '[' => Atom::of(self.class(from, *flags)?),
            '\\' => self.escape(from, *flags, behind)?,
            '.' if flags.dot_all => Atom::of(self.spelled(from, r"[\s\S]".to_owned())),
            '.' => Atom::of("."),
            '^' if flags.lines => Atom::looking(self.spelled(from, r"(?:\A|(?<=\n))".to_owned())),
            '^' => Atom::looking(self.spelled(from, r"\A".to_owned())),
            '$' if flags.lines => Atom::looking(self.spelled(from, r"(?=\n|\z)".to_owned())),
            '$' => Atom::looking(self.spelled(from, r"\z".to_owned())),
            one @ ('*' | '+' | '?' | '{') => {
                return Err(refuse(&self.pattern[from..], &format!("has {one} with nothing to repeat")))
            }
            one => Atom::of(self.literal(from, one, *flags)?),
        };
        if behind && atom.looks {
            return Err(refuse(&self.pattern[from..self.at], "looks around inside what is looked for behind"));
        }
        Ok(Some(atom))
    }

    fn group(&mut self, from: usize, flags: &mut Flags, behind: bool) -> Result<Option<Atom>> {
        if behind {
            return Err(refuse(&self.pattern[from..], "is a group inside what is looked for behind"));
        }
        let looks = ["?=", "?!", "?<=", "?<!"].into_iter().find(|start| self.rest().starts_with(start));
        let (start, inner, behind) = if let Some(start) = looks {
            self.at += start.len();
            (format!("({start}"), *flags, start.contains('<'))
        } else if self.eat("?>") {
            ("(?>".to_owned(), *flags, false)
        } else if self.eat("?:") {
            ("(?:".to_owned(), *flags, false)
        } else if self.eat("?P<") || self.eat("?<") {
            let length = self.rest().find('>').map(|length| length + 1);
            self.at += length.ok_or_else(|| refuse(&self.pattern[from..], "is a name without an end"))?;
            (self.spelled(from, "(?:".to_owned()), *flags, false)
        } else if self.eat("?") {
            let inner = self.flags(from, *flags)?;
            if self.eat(")") {
                self.spelled(from, String::new());
                *flags = inner;
                return Ok(None);
            }
            self.at += 1; // the colon
            if inner == (Flags { any_case: true, ..*flags }) && !flags.any_case {
                if let Some(whole) = self.contractions(from) {
                    return Ok(Some(Atom::of(whole)));
                }
            }
            (self.spelled(from, "(?:".to_owned()), inner, false)
        } else {
            ("(".to_owned(), *flags, false)
        };
        let (body, empty) = self.alternatives(inner, behind)?;
        if !self.eat(")") {
            return Err(refuse(&self.pattern[from..], "is not closed"));
        }
        let regex = format!("{start}{body})");
        Ok(Some(if looks.is_some() { Atom::looking(regex) } else { Atom { regex, empty, looks: false } }))
    }

    /// Flags up to the colon or the closing parenthesis, which are left to be read.
    fn flags(&mut self, from: usize, flags: Flags) -> Result<Flags> {
        let (mut out, mut on) = (flags, true);
        loop {
            match self.peek() {
                Some('i') => out.any_case = on,
                Some('m') => out.lines = on,
                Some('s') => out.dot_all = on,
                Some('-') if on => on = false,
                Some(':' | ')') => return Ok(out),
                _ => {
                    let end = (self.at + 1).min(self.pattern.len());
                    let part = self.pattern.get(from..end).unwrap_or("(?");
                    return Err(refuse(part, "is read by other engines in another way, or not at all"));
                }
            }
            self.at += 1;
        }
    }

    /// `(?i:'s|'t|'re)` and the like as they stand: letters, none of which a single other character stands for two of.
    fn contractions(&mut self, from: usize) -> Option<String> {
        let body = &self.rest()[..self.rest().find(')')?];
        let plain = |one: char| one.is_ascii_alphanumeric() || "' |[]’".contains(one);
        let lower = body.to_ascii_lowercase();
        let joined = JOINED.iter().any(|pair| lower.contains(pair));
        // a class that is opened and closed, and holds something
        let classes = body.split('[').skip(1).all(|class| class.find(']').is_some_and(|end| end > 0));
        let closed = body.matches('[').count() == body.matches(']').count() && !body.contains("[[");
        if joined
            || !classes
            || !closed
            || body.is_empty()
            || !body.chars().all(plain)
            || body.split('|').any(str::is_empty)
        {
            return None;
        }
        self.at += body.len() + 1;
        Some(self.pattern[from..self.at].to_owned())
    }

    fn repeated(&mut self, atom: Atom, behind: bool) -> Result<Atom> {
        let from = self.at;
        let (least, most) = match self.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => self.counts(from)?,
            _ => return Ok(atom),
        };
        let counted = self.peek() == Some('{');
        self.at += if counted { self.rest().find('}').map_or(1, |end| end + 1) } else { 1 };
        let repeat = &self.pattern[from..self.at];
        if atom.looks {
            return Err(refuse(repeat, "repeats what takes no text"));
        }
        if behind && least != most.unwrap_or(u32::MAX) {
            return Err(refuse(repeat, "makes what is looked for behind of no one length"));
        }
        if atom.empty && most != Some(1) && (least, most) != (1, Some(1)) {
            return Err(refuse(repeat, "repeats what may be nothing, which engines end in different ways"));
        }
        let regex = if self.eat("+") {
            if counted {
                self.spelled(from, format!("(?>{}{repeat})", atom.regex))
            } else {
                format!("{}{repeat}+", atom.regex)
            }
        } else if self.eat("?") {
            if Some(least) == most {
                // `{3}?` is a choice there
                self.spelled(from, format!("{}{repeat}", atom.regex))
            } else {
                format!("{}{repeat}?", atom.regex)
            }
        } else {
            format!("{}{repeat}", atom.regex)
        };
        if matches!(self.peek(), Some('*' | '+' | '?' | '{')) {
            return Err(refuse(&self.pattern[from..], "repeats a repeat"));
        }
        Ok(Atom { regex, empty: atom.empty || least == 0, looks: false })
    }

    /// `{2}`, `{2,}`, `{2,5}`: the least and the most; nothing is eaten.
    fn counts(&self, from: usize) -> Result<(u32, Option<u32>)> {
        let wrong = || refuse(&self.pattern[from..], "is no count");
        let end = self.rest().find('}').ok_or_else(wrong)?;
        let inside = &self.rest()[1..end];
        let number = |text: &str| -> Result<u32> {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|&count| digits && count <= MOST).ok_or_else(wrong)
        };
        match inside.split_once(',') {
            None => number(inside).map(|count| (count, Some(count))),
            Some((least, "")) => Ok((number(least)?, None)),
            Some((least, most)) => {
                let (least, most) = (number(least)?, number(most)?);
                if least > most {
                    return Err(wrong());
                }
                Ok((least, Some(most)))
            }
        }
    }

    fn literal(&mut self, from: usize, one: char, flags: Flags) -> Result<String> {
        if flags.any_case {
            let regex = self.ranges(from, &escaped(one), true)?;
            return Ok(self.spelled(from, regex));
        }
        Ok(match one {
            ']' | '}' => self.spelled(from, format!("\\{one}")),
            _ => self.pattern[from..self.at].to_owned(),
        })
    }

    fn escape(&mut self, from: usize, flags: Flags, behind: bool) -> Result<Atom> {
        let Some(one) = self.next() else { return Err(refuse("\\", "ends it")) };
        let verbatim = |reader: &Self| Atom::of(&reader.pattern[from..reader.at]);
        Ok(match one {
            'd' | 'D' | 's' | 'S' | 'h' | 'H' | 't' | 'n' | 'r' | 'f' | 'v' | 'a' | 'e' => verbatim(self),
            'A' | 'z' => Atom::looking(&self.pattern[from..self.at]),
            'Z' => Atom::looking(self.spelled(from, r"(?=\n*\z)".to_owned())),
            'w' => Atom::of(self.spelled(from, format!("[{WORD}]"))),
            'W' => Atom::of(self.spelled(from, format!("[^{WORD}]"))),
            'b' | 'B' if self.peek() != Some('{') && !behind => {
                let (one, other) = if one == 'b' { ('!', '=') } else { ('=', '!') };
                let regex = format!("(?:(?<=[{WORD}])(?{one}[{WORD}])|(?<![{WORD}])(?{other}[{WORD}]))");
                Atom::looking(self.spelled(from, regex))
            }
            'p' | 'P' => Atom::of(self.property(from, flags)?),
            'x' | 'u' | 'U' => {
                let one = self.code(from, one)?;
                if flags.any_case {
                    return Ok(Atom::of(self.literal(from, one, flags)?));
                }
                Atom::of(self.code_spelled(from, one))
            }
            '1'..='9' | 'k' => return Err(refuse(&self.pattern[from..self.at], "refers to an earlier group")),
            _ if one.is_ascii_alphanumeric() || !one.is_ascii() || "<>".contains(one) => {
                return Err(refuse(
                    &self.pattern[from..self.at],
                    "is read by other engines in another way, or not at all",
                ))
            }
            _ => verbatim(self),
        })
    }

    /// `\p{L}` after its `\p`; what is not known to be alike is spelled out as ranges.
    fn property(&mut self, from: usize, flags: Flags) -> Result<String> {
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
    fn code(&mut self, from: usize, letter: char) -> Result<char> {
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

    fn code_spelled(&mut self, from: usize, one: char) -> String {
        // `\xE9` is a byte there
        let written = &self.pattern[from..self.at];
        let braces = written.starts_with(r"\x{");
        let same = written.starts_with(r"\x") && (braces || one.is_ascii());
        let regex = if same { written.to_owned() } else { format!("\\x{{{:X}}}", u32::from(one)) };
        self.spelled(from, regex)
    }

    /// A class after its `[`.
    fn class(&mut self, from: usize, flags: Flags) -> Result<String> {
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
    fn ranges(&self, from: usize, class: &str, any_case: bool) -> Result<String> {
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

fn escaped(one: char) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(pattern: &str) -> String {
        portable(pattern).map_or_else(|error| format!("refused: {error}"), |portable| portable.regex)
    }

    #[test]
    fn what_both_read_alike_is_left_as_it_is() {
        for named in Named::ALL {
            let regex = named.portable_regex();
            let mut reader = Reader { pattern: regex, at: 0, depth: 0, parts: Vec::new() };
            assert_eq!(reader.alternatives(Flags::default(), false).unwrap().0, regex, "{}", named.name());
            assert_eq!(reader.parts, [""; 0]);
        }
        for regex in [
            r"\p{L}+|\s+(?!\S)|\d{1,3}",
            r"[^\r\n\p{L}\p{N}]?+\p{L}++",
            r"(?<=a)b|(?<![\s\p{P}])x{2}",
            r"[!-\-\]]|[a\-b-]",
            r"(a|b(?:c|d))*?",
            r"[一-龥぀-ゟ゠-ヿ]+",
            r"(?i:[sdmt]|ll|ve|re)|'",
            r"\x{200C}|\x41|\.\/\-",
            r"(?>ab|a)",
        ] {
            assert_eq!(portable(regex).unwrap(), Portable { regex: regex.to_owned(), parts: vec![] });
        }
    }

    #[test]
    fn what_they_read_in_two_ways_is_spelled_out_once_and_for_all() {
        let word = format!("[{WORD}]");
        for (pattern, wanted) in [
            (r"\w+", format!("{word}+")),
            (r"[\w']", format!("[{WORD}']")),
            (r"[^\W_]", format!("[^[^{WORD}]_]")),
            ("^a$", r"\Aa\z".into()),
            ("(?m)^a$", r"(?:\A|(?<=\n))a(?=\n|\z)".into()),
            ("(?s).{1,7}", r"[\s\S]{1,7}".into()),
            (r"\pL+\PN", r"\p{L}+\P{N}".into()),
            ("[[:alpha:]_]", "[A-Za-z_]".into()),
            (r"\xe9\u00e9", r"\x{E9}\x{E9}".into()),
            (r"\p{N}{1,3}+", r"(?>\p{N}{1,3})".into()),
            ("(?i)k", r"[Kk\x{212A}]".into()),
            ("(?i:st)", r"(?:[Ss\x{17F}][Tt])".into()),
            ("(?<name>a)b", "(?:a)b".into()),
            (r"[a-z&&[^m]]", "[a-ln-z]".into()),
            ("a{2}?", "a{2}".into()),
            (r"[a-c-e\w]", format!(r"[a-c\-e{WORD}]")),
        ] {
            assert_eq!(spelled(pattern), wanted, "{pattern}");
            assert_eq!(portable(&wanted).unwrap(), Portable { regex: wanted.clone(), parts: vec![] });
        }
        assert_eq!(portable(r"\w+|^|\w").unwrap().parts, [r"\w", "^"]);
        assert_eq!(portable(Named::Cl100k.regex()).unwrap().regex, Named::Cl100k.portable_regex());
    }

    #[test]
    fn what_cannot_be_spelled_is_refused_by_name() {
        for (pattern, part) in [
            (r"(a*)*\1b", "*"),
            (r"(a)\1", r"\1"),
            (r"\X", r"\X"),
            ("(?x)a b", "(?x"),
            (r"\Ka", r"\K"),
            (r"\b{start}a", r"\b"),
            ("(?<=a+)b", "+"),
            ("a{1,2}{3}", "{1,2}"),
            (r"\<a", r"\<"),
            ("(?=a)*", "*"),
        ] {
            let error = portable(pattern).expect_err(pattern);
            assert!(error.message.starts_with(&format!("the pattern's {part}")), "{pattern}: {error}");
        }
        assert!(portable(&"(".repeat(5000)).is_err());
        assert!(portable(&format!("{}a{}", "[".repeat(5000), "]".repeat(5000))).is_err());
    }
}

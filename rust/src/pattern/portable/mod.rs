//! Whether a regex means the same in Hugging Face's engine (Oniguruma, Ruby's syntax), and a spelling that does.
//!
//! What both engines read alike is taken over as it stands, what they read in two ways is spelled out, and all else is
//! refused by name. Both hold the same version of Unicode, so that `\p{L}` and `\s` are the same characters; `\w` and
//! `[[:alpha:]]` are not, `^` is the start of every line there, `(?i)` lets one letter stand for two, and `{1,3}+`
//! repeats a repeat.

mod class;
#[cfg(test)]
mod tests;

use self::class::{escaped, WORD};
use super::names::Named;
use crate::error::{Error, Result};

/// Groups inside groups that are followed.
const DEEPEST: usize = 100;
/// Oniguruma's largest count of a repeat.
const MOST: u32 = 100_000;
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
}

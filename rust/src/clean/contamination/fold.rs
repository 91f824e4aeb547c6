//! The words of a text as they are compared: datatrove's `simplify_text`, a word being what stands between blanks.
//!
//! Lower case, numbers as `0`, punctuation as a blank, no marks. Two things go further, so that an item is found however
//! it is set: any punctuation and symbol separates, not a list of them, and case is folded (`STRASSE` is `Straße`).
//! Writing without blanks gives a word a character.

use super::class::{folded, role, table, Role};

/// A word: its hash, where it stands in the text, and whether it is one character of writing without blanks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Word {
    pub hash: u64,
    pub start: usize,
    pub end: usize,
    pub is_character: bool,
}

enum Step {
    /// A character of a word, and where it stands.
    Part(usize, char),
    /// The word, if there is one, ends before this place.
    End(usize),
    /// A word of one character, between two places.
    Alone(usize, usize, char),
}

/// Calls for each word of a text.
pub fn words(text: &str, mut call: impl FnMut(Word)) {
    const SEED: u64 = 0x243f_6a88_85a3_08d3;
    let next = |hash: u64, c: char| (hash ^ u64::from(c)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let last = |hash: u64| (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let (mut hash, mut begun) = (SEED, None);
    walk(text, |step| match step {
        Step::Part(at, c) => {
            begun.get_or_insert(at);
            hash = next(hash, c);
        }
        Step::End(end) => {
            if let Some(start) = begun.take() {
                call(Word { hash: last(hash), start, end, is_character: false });
                hash = SEED;
            }
        }
        Step::Alone(start, end, c) => {
            call(Word { hash: last(next(SEED, c)), start, end, is_character: true });
        }
    });
}

/// Adds the words of a text as they are compared, each after a blank but the first.
pub fn simplified(text: &str, out: &mut String) {
    let mut is_begun = false;
    walk(text, |step| {
        let c = match step {
            Step::Part(_, c) | Step::Alone(_, _, c) => c,
            Step::End(_) => return is_begun = false,
        };
        if !is_begun && !out.is_empty() {
            out.push(' ');
        }
        is_begun = matches!(step, Step::Part(..));
        out.push(c);
    });
}

/// Goes through a text, character by character.
#[inline(always)]
fn walk(text: &str, mut call: impl FnMut(Step)) {
    let table = table();
    let (mut at, mut after_number) = (0, false);
    while at < text.len() {
        let (role, c, next) = match text.as_bytes()[at] {
            byte if byte < 0x80 => (table[usize::from(byte)], char::from(byte), at + 1),
            _ => {
                let c = char_at(text, at);
                (role(c), c, at + c.len_utf8())
            }
        };
        // a soft hyphen within a number is no reason for a second `0`
        let continues = after_number;
        after_number = role == Role::Digit || (continues && role == Role::Nothing);
        match role {
            Role::Letter(c) => call(Step::Part(at, c)),
            Role::Between | Role::Point => call(Step::End(at)),
            Role::Nothing => {}
            Role::Several => folded(c).for_each(|c| call(Step::Part(at, c))),
            Role::Digit => {
                if !continues {
                    call(Step::Part(at, '0'));
                }
                at = number_end(text, next);
                continue;
            }
            Role::Alone(c) => {
                call(Step::End(at));
                call(Step::Alone(at, next, c));
            }
        }
        at = next;
    }
    call(Step::End(at));
}

fn char_at(text: &str, at: usize) -> char {
    text[at..].chars().next().expect("a character begins here")
}

/// Where `\p{Nd}*([.,،٫⎖⎗⎘]\p{Nd}+)?` ends.
fn number_end(text: &str, at: usize) -> usize {
    let end = digits_end(text, at);
    match text[end..].chars().next() {
        Some(c) if role(c) == Role::Point => {
            let fraction = end + c.len_utf8();
            let after = digits_end(text, fraction);
            if after > fraction {
                after
            } else {
                end
            }
        }
        _ => end,
    }
}

fn digits_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    at + rest.find(|c| role(c) != Role::Digit).unwrap_or(rest.len())
}

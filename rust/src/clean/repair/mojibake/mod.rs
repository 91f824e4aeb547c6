//! Text that was read in another encoding than it was written in, a line at a time: what ftfy 6.3.1's `fix_encoding` does.
//!
//! A line that looks bad is written in each encoding that has all of its characters; where the bytes are UTF-8, that is
//! what was meant. Where no encoding does, the stretches that look like UTF-8 are tried one by one; and control
//! characters of latin-1 are what Windows-1252 has in their place. Again, until nothing changes.

mod badness;
mod bytes;
mod categories;
mod clues;
mod encodings;

use super::kinds::{kinds, CLUE};

pub use categories::is_clue;

/// A text can have been misread several times over.
const ROUNDS: usize = 8;
/// How deep stretches may lie in stretches.
const DEPTH: usize = 3;

/// The text with each line mended, and how many lines changed.
pub fn mended(text: &str, out: &mut String) -> u64 {
    let mut changed = 0;
    let mut chars = Vec::new();
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if line.is_ascii() || !line.chars().any(|c| kinds(c) & CLUE != 0) {
            out.push_str(line);
            continue;
        }
        chars.clear();
        chars.extend(line.chars());
        if let Some(meant) = fixed(&chars, 0) {
            changed += 1;
            out.extend(meant);
        } else {
            out.push_str(line);
        }
    }
    changed
}

/// What a line means; None where it means itself.
fn fixed(line: &[char], depth: usize) -> Option<Vec<char>> {
    let mut now = step(line, depth)?;
    for _ in 1..ROUNDS {
        match step(&now, depth) {
            Some(next) => now = next,
            None => break,
        }
    }
    (now != line).then_some(now)
}

/// One misreading undone.
fn step(text: &[char], depth: usize) -> Option<Vec<char>> {
    if text.iter().all(char::is_ascii) || !badness::is_bad(text) {
        return None;
    }
    let read = encodings::possible(text).find_map(|encoding| as_utf8(text, encoding));
    let meant = read.or_else(|| in_stretches(text, depth)).unwrap_or_else(|| as_windows(text));
    (meant != text).then_some(meant)
}

fn as_utf8(text: &[char], encoding: &encodings::Encoding) -> Option<Vec<char>> {
    let mut bytes = encoding.encode(text);
    if !encoding.is_macroman && bytes::has_altered(&bytes) {
        bytes = bytes::restore_a0(&bytes);
    }
    if encoding.is_sloppy {
        bytes = bytes::replace_lost(&bytes);
    }
    bytes::decoded(&bytes).map(|text| text.chars().collect())
}

/// Mends stretches that look like UTF-8 by themselves.
fn in_stretches(text: &[char], depth: usize) -> Option<Vec<char>> {
    if depth == DEPTH {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut changed) = (0, false);
    while at < text.len() {
        let length = stretch(text, at);
        let part = &text[at..at + length];
        let is_candidate = length > 0 && length < text.len() && badness::is_bad(part);
        match is_candidate.then(|| fixed(part, depth + 1)).flatten() {
            Some(meant) => {
                out.extend(meant);
                changed = true;
            }
            None => out.extend_from_slice(&text[at..at + length.max(1)]),
        }
        at += length.max(1);
    }
    changed.then_some(out)
}

/// How many characters from here on stand for whole sequences of UTF-8.
fn stretch(text: &[char], start: usize) -> usize {
    let clue = |at: usize| text.get(at).map_or(0, |&c| clues::clue(c));
    if start > 0 && clue(start - 1) & clues::STRICT != 0 {
        return 0;
    }
    let mut at = start;
    loop {
        let follow = |count: usize| (1..=count).all(|next| clue(at + next) & clues::FOLLOWING != 0);
        let first = clue(at);
        at += match first {
            _ if first & clues::FIRST_OF_2 != 0 && follow(1) => 2,
            _ if first & clues::FIRST_OF_3 != 0 && follow(2) => 3,
            _ if first & clues::FIRST_OF_4 != 0 && follow(3) => 4,
            _ => return at - start,
        };
    }
}

/// Control characters as what Windows-1252 has in their place. Where all of a text is latin-1 and Windows has something
/// for each of them the text is Windows-1252 as a whole, which comes to the same.
fn as_windows(text: &[char]) -> Vec<char> {
    text.iter().map(|&c| encodings::windows_1252(c).unwrap_or(c)).collect()
}

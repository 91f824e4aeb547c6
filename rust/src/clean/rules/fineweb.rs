//! FineWeb's own rules: how lines end, how short they are, which come twice, and how many words a line has.

use super::keys::place;
use super::lines::{characters, Repeats};
use super::Measures;
use crate::clean::words::class::{Classes, SPACE, TERMINAL};

/// Takes the measures of `text`, which has `words` words; a line of at most `short` characters is short.
pub fn measure(text: &str, words: usize, short: f64, repeats: &mut Repeats, out: &mut Measures) {
    let classes = Classes::get();
    let (mut lines, mut ended, mut shorts) = (0, 0, 0);
    let blank = |line: &str| line.chars().all(|character| classes.of(character) & SPACE != 0);
    let ascii = text.is_ascii();
    let length = |line: &str| if ascii { line.len() } else { characters(line) };
    let written = newlines(text).filter(|line| !blank(line)).inspect(|line| {
        lines += 1;
        ended += usize::from(classes.last(line) & TERMINAL != 0);
        // A character has at most four bytes.
        shorts += usize::from((line.len() as f64) <= short * 4.0 && length(line) as f64 <= short);
    });
    let repeated = repeats.count(text, written);
    out.set(place("fineweb.lines"), f64::from(lines));
    if lines == 0 {
        return;
    }
    let breaks = memchr::memchr_iter(b'\n', text.as_bytes()).count();
    let all = if ascii { text.len() } else { text.chars().count() };
    out.set(place("fineweb.line_punct_ratio"), ended as f64 / f64::from(lines));
    out.set(place("fineweb.short_line_ratio"), shorts as f64 / f64::from(lines));
    out.set(place("fineweb.char_dup_ratio"), repeated.characters as f64 / (all - breaks) as f64);
    out.set(place("fineweb.list_ratio"), breaks as f64 / words as f64);
}

/// `text.split("\n")`
pub fn newlines(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain(std::iter::once(text.len()));
    ends.scan(0, |start, end| Some(&text[std::mem::replace(start, end + 1)..end]))
}

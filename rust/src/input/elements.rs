//! The elements of a JSON array, or objects one after another over several lines each, without their being parsed.

use memchr::{memchr2, memchr_iter};

/// What a JSON file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// An object on each line.
    Lines,
    /// One array, or nothing but objects where `closed` is false.
    Elements { closed: bool },
}

/// The layout by the beginning of a file, and where its first element begins; None where more is needed.
pub(super) fn layout(head: &[u8], complete: bool) -> Option<(Layout, usize)> {
    let Some(first) = head.iter().position(|byte| !blank(*byte)) else {
        return complete.then_some((Layout::Lines, 0));
    };
    if head[first] == b'[' {
        return Some((Layout::Elements { closed: true }, first + 1));
    }
    let next = head[first + 1..].iter().find(|byte| !matches!(byte, b' ' | b'\t' | b'\r'));
    match (head[first], next) {
        (b'{', Some(b'\n')) => Some((Layout::Elements { closed: false }, first)),
        (b'{', None) if !complete => None,
        _ => Some((Layout::Lines, 0)),
    }
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where the last whole element ends within the first `most` bytes, or the first one; None where more is needed.
pub(super) fn cut(text: &[u8], most: usize) -> Option<usize> {
    let mut end = 0;
    while let Some((_, to)) = element(text, end).filter(|&(_, to)| to < text.len()) {
        if to > most && end > 0 {
            break;
        }
        end = to;
    }
    (end > 0).then_some(end)
}

/// The elements of a text with the lines before each. What follows the end of the array is one more, for whoever parses
/// it to refuse.
pub(super) fn elements(text: &[u8]) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let (mut at, mut lines) = (0, 0);
    std::iter::from_fn(move || {
        let (start, end) = element(text, at).or_else(|| behind(text, at))?;
        lines += memchr_iter(b'\n', &text[at..start]).count();
        let before = lines;
        lines += memchr_iter(b'\n', &text[start..end]).count();
        at = end;
        Some((before, start, &text[start..end]))
    })
}

/// What lies behind the bracket that ends the array; None where nothing does.
fn behind(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let end = from + text[from..].iter().position(|&byte| !blank(byte) && byte != b',')?;
    let start = end + 1 + text[end + 1..].iter().position(|&byte| !blank(byte))?;
    Some((start, text.len()))
}

/// Where the next element begins and ends; None where there is none, or the array ends.
fn element(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let start = from + text[from..].iter().position(|&byte| !blank(byte) && byte != b',')?;
    match text[start] {
        b']' => None,
        b'{' | b'[' => Some((start, closing(text, start))),
        b'"' => Some((start, string_end(text, start))),
        _ => {
            let length = text[start..].iter().position(|&byte| blank(byte) || matches!(byte, b',' | b']'));
            Some((start, length.map_or(text.len(), |length| start + length)))
        }
    }
}

/// Behind the bracket that closes the one at `start`.
fn closing(text: &[u8], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at < text.len() {
        match text[at] {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Behind the quote that closes the one at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    text.len()
}

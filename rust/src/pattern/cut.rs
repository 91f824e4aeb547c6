//! Where text may be cut so that both parts are scanned alone: between two characters that no pre-token of the pattern
//! can hold together, whatever stands around them, and of which the first is no whitespace. Whitespace at the end of a
//! text is not cut as it is before something else (`\s+(?!\S)`, `\s++$`), all else is.

use super::names::Named;
use super::unicode::{Tables, CASELESS, LOWER, MARK, NUMBER, OTHER, SPACE, UPPER};

/// See [`super::Pattern::safe_cut`].
pub fn last_between(named: Named, text: &[u8], low: usize, high: usize) -> Option<usize> {
    let tables = Tables::get();
    let top = high.min(text.len().checked_sub(1)?);
    (low + 1..=top).rev().find(|at| {
        let (byte, left) = (text[*at], text.len() - at);
        // A character that the end of the text cuts short may become anything.
        let whole = match byte {
            0..=0x7f => true,
            0xc2..=0xdf => left >= 2,
            0xe0..=0xef => left >= 3,
            0xf0..=0xf4 => left >= 4,
            _ => false,
        };
        whole && apart(named, tables.before(text, 0, *at).0, tables.at(text, *at).0, byte)
    })
}

/// Whether a pre-token ends between two neighbours of these classes always. `byte` is the first of the second.
fn apart(named: Named, before: u8, after: u8, byte: u8) -> bool {
    match (before, after) {
        (SPACE, _) => false,
        (UPPER | LOWER | CASELESS | NUMBER, SPACE) => true,
        // Symbols take newlines, but no other whitespace, along.
        (_, SPACE) => named == Named::Gpt2 || !matches!(byte, b'\r' | b'\n'),
        (NUMBER, NUMBER) => named == Named::Qwen2,
        (_, NUMBER) | (NUMBER, UPPER | LOWER | CASELESS) => true,
        // A mark may be either to o200k; an apostrophe may be a contraction's.
        (UPPER | LOWER | CASELESS | NUMBER, OTHER) => byte != b'\'',
        (UPPER | LOWER | CASELESS | NUMBER | MARK | OTHER, _) => false,
        _ => unreachable!("no such class"),
    }
}

//! What of a text the identifier looks at: its beginning and three pieces of the rest, a thousand bytes at most: with twice as
//! many no more declarations of human rights are named.

use crate::clean::language::script::{head, Script};

const BEGINNING: usize = 500;
const PIECE: usize = 166;
const PIECES: usize = 3;

/// The parts of a text that are looked at. They begin and end between letters.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let beginning = if text.len() <= BEGINNING + PIECES * PIECE { text } else { head(text, BEGINNING) };
    let rest = &text[beginning.len()..];
    let count = if rest.is_empty() { 0 } else { PIECES };
    // each from the middle of its third
    let piece = move |number: usize| {
        let from = rest.len() * (2 * number + 1) / (2 * PIECES) - PIECE / 2;
        let from = (from..rest.len()).find(|at| rest.is_char_boundary(*at)).unwrap_or(rest.len());
        head(&rest[from..], PIECE)
    };
    std::iter::once(beginning).chain((0..count).map(piece))
}

/// A text's letters of one script in lower case, spaces for all others.
pub fn letters(text: &str, script: Script, sample: &mut String) {
    sample.clear();
    for piece in pieces(text) {
        for c in piece.chars() {
            if c.is_ascii() && script == Script::LATIN {
                sample.push(if c.is_ascii_alphabetic() { c.to_ascii_lowercase() } else { ' ' });
            } else if Script::of_char(c) == script || is_mark(c) {
                sample.extend(c.to_lowercase());
            } else {
                sample.push(' ');
            }
        }
        sample.push(' ');
    }
}

/// A mark that stands on the letter before it, as where a text is not composed.
fn is_mark(c: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&c)
}

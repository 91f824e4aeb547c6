//! `\w` as Python's expressions mean it.

use unicode_normalization::char::is_combining_mark;

/// Whether a character is a letter, a number or `_`. Rust's letters hold vowel signs and circled letters too.
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c == '_' || c.is_ascii_alphanumeric();
    }
    let is_circled = matches!(c, '\u{24b6}'..='\u{24e9}' | '\u{1f130}'..='\u{1f189}');
    c.is_alphanumeric() && !is_combining_mark(c) && !is_circled
}

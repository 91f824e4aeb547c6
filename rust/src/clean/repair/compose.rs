//! NFC, of the stretches that are not in it already.

use unicode_normalization::UnicodeNormalization;

use super::kinds::{kinds, next_beyond_ascii, UNSETTLED};

/// The text in NFC, and how many of its stretches changed: a character and the marks that follow it.
pub fn mended(text: &str, out: &mut String) -> u64 {
    let (mut changed, mut done, mut at) = (0, 0, 0);
    while let Some((start, end)) = unsettled(text, at) {
        out.push_str(&text[done..start]);
        let (written, stretch) = (out.len(), &text[start..end]);
        out.extend(stretch.nfc());
        changed += u64::from(&out[written..] != stretch);
        (done, at) = (end, end);
    }
    out.push_str(&text[done..]);
    changed
}

/// The next character that is followed by some that may be composed with it or change their order, and those.
fn unsettled(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = next_beyond_ascii(text, from);
    let mut base = at.saturating_sub(1).max(from);
    while let Some(c) = text[at..].chars().next() {
        if kinds(c) & UNSETTLED != 0 {
            let rest = &text[at..];
            let length = rest.find(|c| kinds(c) & UNSETTLED == 0).unwrap_or(rest.len());
            return Some((base, at + length));
        }
        let next = next_beyond_ascii(text, at + c.len_utf8());
        base = if next > at + c.len_utf8() { next - 1 } else { at };
        at = next;
    }
    None
}

//! NFC, of the stretches that are not in it already.

use unicode_normalization::UnicodeNormalization;

use super::kinds::{kinds, UNSETTLED};

/// The text in NFC, and how many of its stretches changed: a character and the marks that follow it.
pub fn mended(text: &str, out: &mut String) -> u64 {
    let (mut changed, mut done, mut base) = (0, 0, 0);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if kinds(c) & UNSETTLED == 0 {
            base = at;
            continue;
        }
        while chars.next_if(|(_, c)| kinds(*c) & UNSETTLED != 0).is_some() {}
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        // what was there before the first is no part of it
        let start = base.max(done);
        out.push_str(&text[done..start]);
        let (from, to) = (out.len(), &text[start..end]);
        out.extend(to.nfc());
        changed += u64::from(&out[from..] != to);
        done = end;
        base = end;
    }
    out.push_str(&text[done..]);
    changed
}

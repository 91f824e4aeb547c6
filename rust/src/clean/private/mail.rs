//! Mail addresses as datatrove's expression matches them, in linear time: `\b`, words of [`is_atom`] joined by dots, an
//! `@`, and a domain of labels or an address in brackets.

use std::ops::Range;

use memchr::memchr;

use super::ipv4::{octet_before_dot, octets};
use super::word::is_word;

/// ``[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]``
fn is_atom(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&byte)
}

/// Calls for each match, from left to right, none inside another.
pub fn each(text: &str, mut call: impl FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let (mut free, mut at) = (0, 0);
    while let Some(found) = memchr(b'@', &bytes[at..]) {
        let sign = at + found;
        at = sign + 1;
        // the name cannot hold an `@`, so that no byte is looked at for two of them
        let Some(start) = name_before(text, free, sign) else { continue };
        if let Some(end) = domain(bytes, at).or_else(|| literal(bytes, at)) {
            call(start..end);
            (free, at) = (end, end);
        }
    }
}

/// Where the leftmost name begins that ends at the sign and reaches back no further than `free`.
fn name_before(text: &str, free: usize, sign: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut start = sign;
    while start > free
        && (is_atom(bytes[start - 1]) || (bytes[start - 1] == b'.' && start < sign && bytes[start] != b'.'))
    {
        start -= 1;
    }
    (start..sign).find(|&at| bytes[at] != b'.' && is_border(text, at))
}

/// `\b` before an atom: one side is a letter, a digit or `_`, the other is not.
fn is_border(text: &str, at: usize) -> bool {
    let before = text[..at].chars().next_back().is_some_and(is_word);
    before != is_word(text.as_bytes()[at] as char)
}

/// Where `(?:label\.)+label` ends, a label being letters, digits and inner hyphens.
fn domain(bytes: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut end) = (start, None);
    let mut labels = 0;
    while bytes.get(at).is_some_and(u8::is_ascii_alphanumeric) {
        let length = bytes[at..].iter().take_while(|&&byte| byte == b'-' || byte.is_ascii_alphanumeric()).count();
        let run = at + length;
        let last = bytes[at..run].iter().rposition(u8::is_ascii_alphanumeric).map_or(at, |last| at + last);
        labels += 1;
        if labels > 1 {
            end = Some(last + 1);
        }
        // only a label that a dot follows at once has another after it
        if last + 1 < run || bytes.get(run) != Some(&b'.') {
            break;
        }
        at = run + 1;
    }
    end
}

/// Where `\[` three octets with their dots and a fourth, or a word with a colon, `]` end.
fn literal(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'[') {
        return None;
    }
    let mut at = start + 1;
    for _ in 0..3 {
        at = octet_before_dot(bytes, at)? + 1;
    }
    if let Some(end) = octets(bytes, at).find(|&end| bytes.get(end) == Some(&b']')) {
        return Some(end + 1);
    }
    let run = at + bytes[at..].iter().take_while(|&&byte| byte == b'-' || byte.is_ascii_alphanumeric()).count();
    let is_word = run > at && bytes[run - 1] != b'-';
    (is_word && bytes[run..].starts_with(b":]")).then_some(run + 2)
}

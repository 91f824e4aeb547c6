//! IPv4 addresses as datatrove's expression matches them, and which of them are public.

use std::net::Ipv4Addr;
use std::ops::Range;

use memchr::memchr;

/// The ends of `25[0-5]|2[0-4][0-9]|[01]?[0-9][0-9]?` at a place, in the order in which the expression tries them.
pub(super) fn octets(bytes: &[u8], at: usize) -> impl Iterator<Item = usize> + '_ {
    let digits = bytes[at.min(bytes.len())..].iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let most = match &bytes[at..at + digits] {
        [b'2', b'0'..=b'4', _] | [b'2', b'5', b'0'..=b'5'] | [b'0' | b'1', ..] => digits,
        _ => digits.min(2),
    };
    (1..=most).rev().map(move |length| at + length)
}

/// Where an octet ends that a dot follows.
pub(super) fn octet_before_dot(bytes: &[u8], at: usize) -> Option<usize> {
    octets(bytes, at).find(|&end| bytes.get(end) == Some(&b'.'))
}

/// Calls for each match within a range that is a public address.
pub fn each(text: &str, range: Range<usize>, mut call: impl FnMut(Range<usize>)) {
    let bytes = &text.as_bytes()[..range.end];
    let (mut free, mut at) = (range.start, range.start);
    while let Some(found) = memchr(b'.', &bytes[at..]) {
        let dot = at + found;
        at = dot + 1;
        let Some(span) = address_at(bytes, free, dot) else { continue };
        (free, at) = (span.end, span.end);
        if is_public(&text[span.clone()]) {
            call(span);
        }
    }
}

/// The leftmost match whose first dot this is.
fn address_at(bytes: &[u8], free: usize, dot: usize) -> Option<Range<usize>> {
    let start = (dot.saturating_sub(3).max(free)..dot).find(|&start| octet_before_dot(bytes, start) == Some(dot))?;
    let second = octet_before_dot(bytes, dot + 1)?;
    let third = octet_before_dot(bytes, second + 1)?;
    Some(start..octets(bytes, third + 1).next()?)
}

/// Whether an address can be somebody's: what the registry of special addresses says, as Python's `is_global`. One with
/// zeros before an octet is none.
fn is_public(address: &str) -> bool {
    let Ok(ip) = address.parse::<Ipv4Addr>() else { return false };
    let [a, b, c, d] = ip.octets();
    let is_special = match (a, b, c) {
        (0 | 10 | 127 | 240..=255, ..)
        | (100, 64..=127, _)
        | (169, 254, _)
        | (172, 16..=31, _)
        | (192, 168, _)
        | (192, 0, 2)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => true,
        // 192.0.0.0/29 and 192.0.0.170/31
        (192, 0, 0) => d < 8 || d == 170 || d == 171,
        _ => false,
    };
    !is_special
}

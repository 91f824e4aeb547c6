//! Bytes that may be UTF-8 once a little is restored: blanks that were U+00A0, and bytes that a reader has lost.

/// What U+FFFD is in UTF-8.
const LOST: &[u8] = "\u{fffd}".as_bytes();

fn within(byte: Option<&u8>, first: u8, last: u8) -> bool {
    byte.is_some_and(|byte| (first..=last).contains(byte))
}

/// Puts byte A0 where a blank stands in its place within a likely sequence; `Ã ` alone is `à` and its blank.
pub fn restore_a0(bytes: &[u8]) -> Vec<u8> {
    let mut spaced = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        spaced.push(byte);
        if byte == 0xc3 && bytes.get(at + 1) == Some(&b' ') && !is_contraction(&bytes[at + 2..]) {
            spaced.push(0xa0);
        }
    }
    let mut at = 0;
    while at < spaced.len() {
        let length = altered(&spaced[at..]);
        spaced[at..at + length].iter_mut().filter(|byte| **byte == b' ').for_each(|byte| *byte = 0xa0);
        at += length.max(1);
    }
    spaced
}

/// Whether an `à` goes on as a Portuguese word: `àquele`, `àquela`, `àquilo`, `às`; or another blank follows.
fn is_contraction(rest: &[u8]) -> bool {
    [b" ".as_slice(), b"quele", b"quela", b"quilo", b"s "].iter().any(|word| rest.starts_with(word))
}

/// The length of a sequence that would be UTF-8 were its blank an A0, 0 where there is none.
fn altered(bytes: &[u8]) -> usize {
    let blank = |at: usize| bytes.get(at) == Some(&b' ');
    let follows = |at: usize| within(bytes.get(at), 0x80, 0xbf);
    let inner = |at: usize| follows(at) && !matches!(bytes[at], 0x85 | 0xa0);
    match bytes[0] {
        0xc2 | 0xc3 | 0xc5 | 0xce | 0xd0 | 0xd9 if blank(1) => 2,
        0xe2 | 0xe3 if blank(1) && inner(2) => 3,
        0xe0..=0xe3 if inner(1) && blank(2) => 3,
        0xf0 if blank(1) && follows(2) && follows(3) => 4,
        0xf0 if follows(1) && blank(2) && follows(3) => 4,
        0xf0 if follows(1) && follows(2) && blank(3) => 4,
        _ => 0,
    }
}

/// Whether [`restore_a0`] has something to do.
pub fn has_altered(bytes: &[u8]) -> bool {
    (0..bytes.len()).any(|at| altered(&bytes[at..]) > 0)
}

/// Makes U+FFFD of each sequence of which a byte is lost (1A, or `?` once).
pub fn replace_lost(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match lost(&bytes[at..]) {
            0 => {
                out.push(bytes[at]);
                at += 1;
            }
            length => {
                out.extend_from_slice(LOST);
                at += length;
            }
        }
    }
    out
}

fn lost(bytes: &[u8]) -> usize {
    let gone = |at: usize| matches!(bytes.get(at), Some(0x1a));
    let asked = |at: usize| matches!(bytes.get(at), Some(0x1a | b'?'));
    let kept = |at: usize| gone(at) || within(bytes.get(at), 0x80, 0xbf);
    // one of the places may be asked, the others are kept
    let one_of =
        |places: &[usize]| places.iter().any(|&one| asked(one) && places.iter().all(|&at| at == one || kept(at)));
    let is_pair = bytes[0] == 0xed && within(bytes.get(1), 0xa0, 0xaf) && bytes.get(3) == Some(&0xed);
    if (0xc2..=0xdf).contains(&bytes[0]) && gone(1) || matches!(bytes[0], 0xc2 | 0xc3) && asked(1) {
        return 2;
    }
    if is_pair && within(bytes.get(4), 0xb0, 0xbf) {
        let any = |at: usize| asked(at) || kept(at);
        if (asked(2) && any(5)) || (any(2) && asked(5)) {
            return 6;
        }
    }
    match bytes[0] {
        0xe0..=0xef if one_of(&[1, 2]) => 3,
        0xf0..=0xf4 if one_of(&[1, 2, 3]) => 4,
        0x1a => 1,
        _ => 0,
    }
}

/// UTF-8 with what is commonly written in its place: surrogates in pairs (CESU-8), and C0 80 for NUL.
pub fn decoded(bytes: &[u8]) -> Option<String> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Some(text.into());
    }
    let mut text = String::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let valid = rest.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        text.push_str(valid);
        rest = &rest[valid.len()..];
        match rest {
            [] => {}
            [0xc0, 0x80, tail @ ..] => {
                text.push('\0');
                rest = tail;
            }
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, tail @ ..] => {
                let bits = |byte: &u8, mask: u8, shift: u32| u32::from(byte & mask) << shift;
                let point = 0x1_0000 + bits(a, 15, 16) + bits(b, 63, 10) + bits(c, 15, 6) + bits(d, 63, 0);
                text.push(char::from_u32(point)?);
                rest = tail;
            }
            _ => return None,
        }
    }
    Some(text)
}

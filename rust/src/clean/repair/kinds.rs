//! What each character gives a repair to do, in one table, and what a whole text does.

use std::sync::LazyLock;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{is_nfc_quick, IsNormalized};

use super::{invisible, mojibake};

/// Control characters and line ends of other systems.
pub const CONTROL: u8 = 1;
/// Blanks that are no plain ones, or stand where none should.
pub const BLANK: u8 = 2;
/// Takes no place: joiners, marks of direction, soft hyphens.
pub const INVISIBLE: u8 = 4;
/// May be a byte of a character that was misread.
pub const CLUE: u8 = 8;
/// May be composed with others, or stand in another order.
pub const UNSETTLED: u8 = 16;
/// Stands in lines of Chinese, Japanese and Korean, where a wide blank is at home.
pub const WIDE: u8 = 32;

/// So many line ends in a row are two empty lines.
pub const MOST_ENDS: usize = 3;

const END: usize = 0x2_0000;

static TABLE: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..END as u32).map(|point| char::from_u32(point).map_or(0, of)).collect());

/// A character's kinds.
pub fn kinds(c: char) -> u8 {
    TABLE.get(c as usize).copied().unwrap_or_else(|| of(c))
}

fn of(c: char) -> u8 {
    let is_control = match c {
        '\t' | '\n' => false,
        '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffc}' | '\u{2028}' | '\u{2029}' => true,
        c => c.is_control(),
    };
    let is_unsettled = || canonical_combining_class(c) != 0 || is_nfc_quick(std::iter::once(c)) != IsNormalized::Yes;
    let flag = |kind: u8, is: bool| if is { kind } else { 0 };
    flag(CONTROL, is_control)
        | flag(BLANK, is_blank(c) || c == '\u{3000}')
        | flag(INVISIBLE, invisible::is_one(c))
        | flag(CLUE, mojibake::is_clue(c))
        | flag(UNSETTLED, !c.is_ascii() && is_unsettled())
        | flag(WIDE, is_wide(c))
}

/// Blanks that say nothing which a plain one does not. Ogham's is a stroke that is seen.
pub fn is_blank(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}')
}

fn is_wide(c: char) -> bool {
    matches!(c, '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{2fdf}' | '\u{3001}'..='\u{9fff}' | '\u{a000}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}' | '\u{ff00}'..='\u{ffef}' | '\u{2_0000}'..='\u{3_ffff}')
}

/// The kinds of all characters of a text, [`BLANK`] where a line ends in blanks or there are too many empty ones too.
pub fn all(text: &str) -> u8 {
    let bytes = text.as_bytes();
    let (mut found, mut at, mut ends) = (0, 0, 0);
    while at < bytes.len() {
        if let Some(plain) = bytes[at..].first_chunk::<32>().filter(|chunk| is_plain(chunk)) {
            ends = 0;
            at += plain.len();
            continue;
        }
        let byte = bytes[at];
        match byte {
            b' '..=b'~' | b'\t' => ends = 0,
            b'\n' => {
                let after_blank = at > 0 && matches!(bytes[at - 1], b' ' | b'\t');
                ends += 1;
                found |= if after_blank || ends > MOST_ENDS { BLANK } else { 0 };
            }
            0..0x80 => found |= CONTROL,
            _ => {
                let c = text[at..].chars().next().expect("a character begins here");
                found |= kinds(c);
                ends = 0;
                at += c.len_utf8();
                continue;
            }
        }
        at += 1;
    }
    if text.ends_with([' ', '\t']) {
        found |= BLANK;
    }
    found
}

/// Whether nothing but what is printed of ASCII stands there; compiles to a comparison of vectors.
fn is_plain(bytes: &[u8; 32]) -> bool {
    bytes.iter().fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte))
}

/// Where the next character that is not ASCII stands, or the end.
pub fn next_beyond_ascii(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while bytes[at..].first_chunk::<32>().is_some_and(|chunk| chunk.is_ascii()) {
        at += 32;
    }
    while bytes.get(at).is_some_and(u8::is_ascii) {
        at += 1;
    }
    at
}

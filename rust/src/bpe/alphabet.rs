//! The printable alphabet of byte-level BPE: every byte as one visible character, in the order that numbers the first
//! 256 tokens.

use std::sync::OnceLock;

/// Bytes in the order of the printable alphabet: first those that print as themselves, then the others.
/// Vocabularies number their first 256 tokens so, and ties in training follow it.
pub const BYTES: [u8; 256] = bytes();

/// The place of each byte in [`BYTES`].
pub const ORDER: [u8; 256] = order();

const fn prints(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

const fn bytes() -> [u8; 256] {
    let mut out = [0; 256];
    let mut filled = 0;
    let mut pass = 0;
    while pass < 2 {
        let mut byte = 0;
        while byte < 256 {
            if prints(byte as u8) == (pass == 0) {
                out[filled] = byte as u8;
                filled += 1;
            }
            byte += 1;
        }
        pass += 1;
    }
    out
}

const fn order() -> [u8; 256] {
    let mut out = [0; 256];
    let mut place = 0;
    while place < 256 {
        out[BYTES[place] as usize] = place as u8;
        place += 1;
    }
    out
}

/// The characters that stand for bytes: the first 188 for themselves, the rest from U+0100 on.
fn chars() -> &'static [char; 256] {
    static CHARS: OnceLock<[char; 256]> = OnceLock::new();
    CHARS.get_or_init(|| {
        std::array::from_fn(|byte| {
            let byte = byte as u8;
            if prints(byte) {
                byte as char
            } else {
                char::from_u32(0x100 + u32::from(ORDER[byte as usize]) - 188).expect("below the surrogates")
            }
        })
    })
}

/// `b" the"` as `Ġthe`.
pub fn to_printable(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| chars()[byte as usize]).collect()
}

/// `Ġthe` as `b" the"`; nothing where a character stands for no byte.
pub fn from_printable(text: &str) -> Option<Vec<u8>> {
    text.chars()
        .map(|char| match char as u32 {
            code @ 0..=0xff => prints(code as u8).then_some(code as u8),
            code @ 0x100..=0x143 => Some(BYTES[code as usize - 0x100 + 188]),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_gpt2() {
        assert_eq!(to_printable(b" the\n\x00\xad\xff"), "ĠtheĊĀŃÿ");
        assert_eq!(BYTES[0], b'!');
        assert_eq!(BYTES[188], 0);
        assert_eq!(BYTES[220], b' ');
        assert_eq!(BYTES[255], 0xad);
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(from_printable(&to_printable(&all)).unwrap(), all);
        assert_eq!(from_printable(" "), None);
        assert_eq!(from_printable("ń中"), None);
    }
}

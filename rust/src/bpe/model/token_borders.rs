//! Where a pre-token may be cut without changing its tokens: between two characters that no token spans.
//!
//! Of all pairs of Han characters that text holds, cl100k's tokens hold 761, so that nearly every character stands
//! alone.

use crate::memory::mapped_slice::MappedSlice;

/// Bits of the filter of character pairs: o200k holds 16,412 pairs, which fill 3 % of it.
const FILTER_BITS: u32 = 19;

pub struct TokenBorders {
    /// Two bytes side by side in a token, where they are not the border of two whole characters beyond ASCII.
    pub bytes: MappedSlice<[u64; 4]>,
    /// Pairs of whole characters beyond ASCII side by side in a token. It may claim a pair that is in none.
    pub pairs: MappedSlice<u64>,
}

/// The character that starts at `at`, beyond ASCII and well-formed; its code and its end.
#[inline(always)]
pub fn wide_char(text: &[u8], at: usize) -> Option<(u32, usize)> {
    let rest = &text[at..];
    let tail = |byte: u8| byte as i8 <= -65;
    match *rest {
        [lead @ 0xe0..=0xef, second, third, ..] if tail(second) && tail(third) => {
            let code = u32::from(lead & 15) << 12 | u32::from(second & 63) << 6 | u32::from(third & 63);
            (code >= 0x800 && code >> 11 != 0x1b).then_some((code, at + 3))
        }
        [lead @ 0xc2..=0xdf, second, ..] if tail(second) => {
            Some((u32::from(lead & 31) << 6 | u32::from(second & 63), at + 2))
        }
        [lead @ 0xf0..=0xf4, second, third, fourth, ..] if tail(second) && tail(third) && tail(fourth) => {
            let code = u32::from(lead & 7) << 18
                | u32::from(second & 63) << 12
                | u32::from(third & 63) << 6
                | u32::from(fourth & 63);
            (0x10000..0x11_0000).contains(&code).then_some((code, at + 4))
        }
        _ => None,
    }
}

impl TokenBorders {
    pub fn new<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut bytes, mut pairs) = (vec![[0; 4]; 256], vec![0; 1 << (FILTER_BITS - 6)]);
        for token in tokens {
            let mut at = 0;
            let mut left = None;
            while at < token.len() {
                let (char, end) = match wide_char(token, at) {
                    Some((code, end)) => (Some(code), end),
                    None => (None, at + 1),
                };
                if at > 0 {
                    if let (Some(left), Some(char)) = (left, char) {
                        let bit = filter_bit(left, char);
                        pairs[bit / 64] |= 1 << (bit % 64);
                    } else {
                        let right = token[at];
                        bytes[usize::from(token[at - 1])][usize::from(right >> 6)] |= 1 << (right & 63);
                    }
                }
                left = char;
                at = end;
            }
        }
        Self { bytes: bytes.into(), pairs: pairs.into() }
    }

    /// The filters as they were made before; None where they have another size.
    pub fn of_tables(bytes: MappedSlice<[u64; 4]>, pairs: MappedSlice<u64>) -> Option<Self> {
        (bytes.len() == 256 && pairs.len() == 1 << (FILTER_BITS - 6)).then_some(Self { bytes, pairs })
    }

    /// Whether a token may hold these bytes side by side, the border of two whole characters aside.
    #[inline(always)]
    pub fn joins_bytes(&self, left: u8, right: u8) -> bool {
        self.bytes[usize::from(left)][usize::from(right >> 6)] >> (right & 63) & 1 == 1
    }

    /// Whether a token may hold these characters, both beyond ASCII, side by side.
    #[inline(always)]
    pub fn joins_chars(&self, left: u32, right: u32) -> bool {
        let bit = filter_bit(left, right);
        self.pairs[bit / 64] >> (bit % 64) & 1 == 1
    }
}

#[inline(always)]
fn filter_bit(left: u32, right: u32) -> usize {
    let key = u64::from(left) << 32 | u64::from(right);
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FILTER_BITS)) as usize
}

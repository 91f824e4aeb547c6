//! Characters beyond ASCII, all of a window at once: for each page of 64 code points that the window's characters lie
//! in, the last bytes of those characters choose from a bitmap a class. Few pages meet in 64 bytes: an alphabet has two
//! to four; Han has many, but under lead bytes that hold nothing but letters.

use std::arch::x86_64::{
    __m512i, _mm512_bitshuffle_epi64_mask, _mm512_cmpeq_epi8_mask, _mm512_cmpge_epu8_mask, _mm512_loadu_si512,
    _mm512_maskz_loadu_epi8, _mm512_permutexvar_epi8, _mm512_set1_epi64, _mm512_set1_epi8,
};

use super::super::unicode::{Tables, CASELESS, CLASSES};
use super::Wide;

/// See [`super::Simd::wide`]. `None` where a byte is invalid, or the characters are so few that each is read alone.
///
/// # Safety
/// 64 bytes must be readable from `text[origin]` on, and the processor have AVX-512 BW, VBMI and BITALG.
#[inline(always)]
pub unsafe fn wide(high: u64, text: &[u8], origin: usize, tables: &Tables) -> Option<Wide> {
    let bytes = &text[origin..origin + 64];
    // SAFETY: the caller vouches for the instructions; `bytes` and the table are 64 bytes.
    unsafe {
        let window = _mm512_loadu_si512(bytes.as_ptr().cast());
        macro_rules! from {
            ($byte:literal) => {
                _mm512_cmpge_epu8_mask(window, _mm512_set1_epi8($byte as u8 as i8))
            };
        }
        let leads = from!(0xc0);
        if leads.count_ones() < 4 {
            return None;
        }
        let (three, four) = (from!(0xe0), from!(0xf0));
        let rest = high & !leads;
        let due = leads << 1 | three << 2 | four << 3;
        // What no lead byte in sight explains is the end of a character before the window.
        let head = rest & !due;
        if due & !rest | head & !7 | from!(0xf5) | leads & !from!(0xc2) != 0 {
            return None;
        }
        let mut masks = [0; CLASSES];
        // One at a time: a character that began before the window, those that end after it, those of four bytes.
        if head != 0 {
            let (class, start) = tables.before(text, origin.saturating_sub(3), origin + head.count_ones() as usize);
            if start >= origin {
                return None;
            }
            masks[class as usize] |= head;
        }
        let alone = four | (three & 3 << 62) | (leads & 1 << 63);
        let mut todo = alone;
        while todo != 0 {
            let bit = todo.trailing_zeros();
            let (class, length) = tables.at(text, origin + bit as usize);
            if length == 1 {
                return None;
            }
            masks[class as usize] |= ((1 << length) - 1) << bit;
            todo &= todo - 1;
        }
        let mut todo = leads & !three & !alone;
        while todo != 0 {
            let bit = todo.trailing_zeros() as usize;
            let same = equal(window, bytes[bit]) & todo;
            todo ^= same;
            choose(window, tables.bitmaps((bytes[bit] & 0x1f) as usize), same << 1, &mut masks, |last| {
                last | last >> 1
            });
        }
        let letters_from = _mm512_loadu_si512(tables.letters_from().as_ptr().cast());
        let letters_from = _mm512_permutexvar_epi8(window, letters_from);
        let seconds = _mm512_maskz_loadu_epi8(!0 >> 1, bytes.as_ptr().add(1).cast());
        let mut todo = three & !four & !alone;
        let letters = _mm512_cmpge_epu8_mask(seconds, letters_from) & todo;
        masks[CASELESS as usize] |= letters | letters << 1 | letters << 2;
        todo ^= letters;
        while todo != 0 {
            let bit = todo.trailing_zeros() as usize;
            let (lead, second) = (bytes[bit], bytes[bit + 1]);
            let same = equal(window, lead) & equal(window, second) >> 1 & todo;
            todo ^= same;
            let page = (lead as usize & 0xf) << 6 | second as usize & 0x3f;
            // what two bytes could have said, and surrogates
            if matches!(page, 0..0x20 | 0x360..0x380) {
                return None;
            }
            choose(window, tables.bitmaps(page), same << 2, &mut masks, |last| last | last >> 1 | last >> 2);
        }
        Some(Wide { classes: masks, rest })
    }
}

/// # Safety
/// The processor must have AVX-512 BW.
#[inline(always)]
unsafe fn equal(window: __m512i, byte: u8) -> u64 {
    // SAFETY: the caller vouches for the instructions, which work on values alone.
    unsafe { _mm512_cmpeq_epi8_mask(window, _mm512_set1_epi8(byte as i8)) }
}

/// Adds the characters whose last bytes are in `lasts`, all of one page, to the masks of their classes.
///
/// # Safety
/// The processor must have AVX-512 BITALG.
#[inline(always)]
unsafe fn choose(
    window: __m512i,
    bitmaps: &[u64; CLASSES],
    lasts: u64,
    masks: &mut [u64; CLASSES],
    whole: impl Fn(u64) -> u64,
) {
    for (mask, bitmap) in masks.iter_mut().zip(bitmaps).skip(1) {
        // SAFETY: the caller vouches for the instructions, which work on values alone.
        *mask |= whole(unsafe { _mm512_bitshuffle_epi64_mask(_mm512_set1_epi64(*bitmap as i64), window) } & lasts);
    }
}

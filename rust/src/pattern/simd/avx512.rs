//! AVX-512 with VBMI: one table look-up gives 64 bytes their class bits, one test a class; positions by compression.

use std::arch::x86_64::{
    _mm512_add_epi32, _mm512_castsi512_si128, _mm512_cvtepu8_epi32, _mm512_extracti32x4_epi32, _mm512_loadu_si512,
    _mm512_maskz_compress_epi8, _mm512_maskz_permutex2var_epi8, _mm512_movepi8_mask, _mm512_set1_epi32,
    _mm512_set1_epi8, _mm512_storeu_si512, _mm512_test_epi8_mask, _mm_prefetch, _MM_HINT_T0,
};

use super::avx2::AHEAD;
use super::scalar::BITS;
use super::wide512::wide;
use super::{Ascii, Simd, Tables, Wide};

pub struct Avx512;

static INDICES: [u8; 64] = {
    let mut indices = [0; 64];
    let mut i = 0;
    while i < 64 {
        indices[i] = i as u8;
        i += 1;
    }
    indices
};

// SAFETY: the instructions belong to AVX-512 F, BW, VBMI and VBMI2, which `Variant::available` asks the processor for.
unsafe impl Simd for Avx512 {
    #[inline(always)]
    unsafe fn classify(bytes: *const u8) -> Ascii {
        // SAFETY: the caller vouches for the instructions and for 64 readable bytes; `BITS` has 256.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(AHEAD).cast());
            let text = _mm512_loadu_si512(bytes.cast());
            let low = _mm512_loadu_si512(BITS.as_ptr().cast());
            let high = _mm512_loadu_si512(BITS.as_ptr().add(64).cast());
            // The look-up reads seven bits of a byte: a high byte would look like its ASCII twin.
            let above = _mm512_movepi8_mask(text);
            let bits = _mm512_maskz_permutex2var_epi8(!above, low, text, high);
            // A macro, not a closure: a closure that is not inlined would be compiled without AVX-512.
            macro_rules! test {
                ($bits:literal) => {
                    _mm512_test_epi8_mask(bits, _mm512_set1_epi8($bits as u8 as i8))
                };
            }
            Ascii {
                letter: test!(0x03),
                upper: test!(0x01),
                lower: test!(0x02),
                digit: test!(0x04),
                space: test!(0x08),
                newline: test!(0x10),
                blank: test!(0x20),
                apostrophe: test!(0x40),
                slash: test!(0x80),
                high: above,
            }
        }
    }

    #[inline(always)]
    unsafe fn wide(high: u64, text: &[u8], origin: usize, tables: &Tables) -> Option<Wide> {
        // SAFETY: the same contract.
        unsafe { wide(high, text, origin, tables) }
    }

    #[inline(always)]
    unsafe fn positions(mask: u64, base: u32, out: *mut u32) -> usize {
        let count = mask.count_ones() as usize;
        // SAFETY: the caller vouches for the instructions and for 64 + SLACK values; at most 64 are written.
        unsafe {
            let places = _mm512_maskz_compress_epi8(mask, _mm512_loadu_si512(INDICES.as_ptr().cast()));
            let base = _mm512_set1_epi32(base as i32);
            macro_rules! store {
                ($quarter:literal, $lanes:expr) => {
                    _mm512_storeu_si512(
                        out.add(16 * $quarter).cast(),
                        _mm512_add_epi32(base, _mm512_cvtepu8_epi32($lanes)),
                    )
                };
            }
            // English has 13 pre-tokens in 56 bytes: one store is the rule.
            store!(0, _mm512_castsi512_si128(places));
            if count > 16 {
                store!(1, _mm512_extracti32x4_epi32::<1>(places));
                if count > 32 {
                    store!(2, _mm512_extracti32x4_epi32::<2>(places));
                    store!(3, _mm512_extracti32x4_epi32::<3>(places));
                }
            }
        }
        count
    }
}

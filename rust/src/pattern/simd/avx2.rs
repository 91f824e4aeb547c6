//! AVX2: two halves of 32 bytes, a comparison or two for each class.

use std::arch::asm;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi8, _mm256_cmpeq_epi8, _mm256_cmpgt_epi8, _mm256_loadu_si256, _mm256_movemask_epi8,
    _mm256_or_si256, _mm256_set1_epi8, _mm_prefetch, _MM_HINT_T0,
};

use super::{Ascii, Scalar, Simd};

/// How far ahead the text is fetched: the processor's own prefetching stops at pages of 4 KiB.
pub const AHEAD: usize = 1024;

pub struct Avx2;

// SAFETY: every instruction here belongs to AVX2, which `Variant::available` asks the processor for.
unsafe impl Simd for Avx2 {
    #[inline(always)]
    unsafe fn classify(bytes: *const u8) -> Ascii {
        // SAFETY: the caller vouches for AVX2 and for 64 readable bytes; the loads need no alignment.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(bytes.wrapping_add(AHEAD).cast());
            let (low, high) = (_mm256_loadu_si256(bytes.cast()), _mm256_loadu_si256(bytes.add(32).cast()));
            // Macros, not closures: a closure that is not inlined would be compiled without AVX2.
            macro_rules! mask {
                ($half:ident => $of:expr) => {{
                    let [$half, other] = [low, high];
                    let bottom = _mm256_movemask_epi8($of) as u32;
                    let $half = other;
                    opaque(u64::from(_mm256_movemask_epi8($of) as u32) << 32 | u64::from(bottom))
                }};
            }
            macro_rules! equal {
                ($half:ident, $byte:literal) => {
                    _mm256_cmpeq_epi8($half, _mm256_set1_epi8($byte as i8))
                };
            }
            let blank = mask!(half => equal!(half, b' '));
            Ascii {
                letter: mask!(half => within(_mm256_or_si256(half, _mm256_set1_epi8(0x20)), b'a', 26)),
                upper: mask!(half => within(half, b'A', 26)),
                lower: mask!(half => within(half, b'a', 26)),
                digit: mask!(half => within(half, b'0', 10)),
                space: blank | mask!(half => within(half, b'\t', 5)),
                newline: mask!(half => _mm256_or_si256(equal!(half, b'\r'), equal!(half, b'\n'))),
                blank,
                apostrophe: mask!(half => equal!(half, b'\'')),
                slash: mask!(half => equal!(half, b'/')),
                high: mask!(half => half),
            }
        }
    }

    #[inline(always)]
    unsafe fn positions(mask: u64, base: u32, out: *mut u32) -> usize {
        // SAFETY: the same contract.
        unsafe { Scalar::positions(mask, base, out) }
    }
}

/// 0xff where `first <= byte < first + count`: moved to the bottom of the signed range, one comparison does.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn within(half: __m256i, first: u8, count: u8) -> __m256i {
    // SAFETY: the caller vouches for AVX2, which works on values alone here.
    unsafe {
        let moved = _mm256_add_epi8(half, _mm256_set1_epi8(0x80u8.wrapping_sub(first) as i8));
        _mm256_cmpgt_epi8(_mm256_set1_epi8(0x80u8.wrapping_add(count) as i8), moved)
    }
}

/// The same value, of unknown origin: LLVM 21 otherwise sees 64 comparisons in a mask, carries the algebra on masks over
/// to vectors of booleans, and inserts them byte by byte (0.9 GB/s instead of 2.6 on Zen 5).
#[inline(always)]
fn opaque(mut mask: u64) -> u64 {
    // SAFETY: no instruction at all.
    unsafe { asm!("/* {0} */", inout(reg) mask, options(pure, nomem, nostack, preserves_flags)) };
    mask
}

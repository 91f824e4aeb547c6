//! NEON: four quarters of 16 bytes, a comparison or two for each class, a mask by pairwise addition of weighted bits.

use std::arch::aarch64::{
    vandq_u8, vceqq_u8, vcgeq_u8, vcltq_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vorrq_u8, vpaddq_u8,
    vreinterpretq_u64_u8, vsubq_u8,
};

use super::{Ascii, Scalar, Simd};

pub struct Neon;

// SAFETY: every aarch64 processor has NEON.
unsafe impl Simd for Neon {
    #[inline(always)]
    unsafe fn classify(bytes: *const u8) -> Ascii {
        // SAFETY: the caller vouches for 64 readable bytes; the loads need no alignment.
        unsafe {
            let quarters = [0, 16, 32, 48].map(|offset| vld1q_u8(bytes.add(offset)));
            let weights = vld1q_u8([1u8, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128].as_ptr());
            macro_rules! mask {
                ($quarter:ident => $of:expr) => {{
                    let [a, b, c, d] = quarters.map(|$quarter| vandq_u8($of, weights));
                    let eights = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
                    vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(eights, eights)))
                }};
            }
            macro_rules! equal {
                ($quarter:ident, $byte:literal) => {
                    vceqq_u8($quarter, vdupq_n_u8($byte))
                };
            }
            macro_rules! within {
                ($quarter:ident, $first:literal, $count:literal) => {
                    vcltq_u8(vsubq_u8($quarter, vdupq_n_u8($first)), vdupq_n_u8($count))
                };
            }
            let blank = mask!(quarter => equal!(quarter, b' '));
            Ascii {
                letter: mask!(quarter => {
                    let quarter = vorrq_u8(quarter, vdupq_n_u8(0x20));
                    within!(quarter, b'a', 26)
                }),
                upper: mask!(quarter => within!(quarter, b'A', 26)),
                lower: mask!(quarter => within!(quarter, b'a', 26)),
                digit: mask!(quarter => within!(quarter, b'0', 10)),
                space: blank | mask!(quarter => within!(quarter, b'\t', 5)),
                newline: mask!(quarter => vorrq_u8(equal!(quarter, b'\r'), equal!(quarter, b'\n'))),
                blank,
                apostrophe: mask!(quarter => equal!(quarter, b'\'')),
                slash: mask!(quarter => equal!(quarter, b'/')),
                high: mask!(quarter => vcgeq_u8(quarter, vdupq_n_u8(0x80))),
            }
        }
    }

    #[inline(always)]
    unsafe fn positions(mask: u64, base: u32, out: *mut u32) -> usize {
        // SAFETY: the same contract.
        unsafe { Scalar::positions(mask, base, out) }
    }
}

//! No vector instructions: a table of eight class bits per byte, and a transposition of 8 × 8 bits.

use super::{Ascii, Simd};

/// One bit a class, in the order of the fields of [`Ascii`] from `upper` to `slash`.
pub(super) static BITS: [u8; 256] = {
    let mut bits = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        bits[byte] = (b.is_ascii_uppercase() as u8)
            | (b.is_ascii_lowercase() as u8) << 1
            | (b.is_ascii_digit() as u8) << 2
            | (matches!(b, 9..=13 | b' ') as u8) << 3
            | (matches!(b, b'\r' | b'\n') as u8) << 4
            | ((b == b' ') as u8) << 5
            | ((b == b'\'') as u8) << 6
            | ((b == b'/') as u8) << 7;
        byte += 1;
    }
    bits
};

pub struct Scalar;

// SAFETY: plain code, runs everywhere.
unsafe impl Simd for Scalar {
    #[inline(always)]
    unsafe fn classify(bytes: *const u8) -> Ascii {
        // SAFETY: the caller vouches for 64 readable bytes, and a byte array needs no alignment.
        let bytes = unsafe { &*bytes.cast::<[u8; 64]>() };
        let (mut masks, mut high) = ([0u64; 8], 0u64);
        for (group, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*eight);
            // gathers the top bit of each byte
            high |= ((word & 0x8080_8080_8080_8080) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56 << (8 * group);
            let rows = transpose(u64::from_le_bytes(eight.map(|byte| BITS[byte as usize]))).to_le_bytes();
            for (mask, row) in masks.iter_mut().zip(rows) {
                *mask |= u64::from(row) << (8 * group);
            }
        }
        let [upper, lower, digit, space, newline, blank, apostrophe, slash] = masks;
        Ascii { letter: upper | lower, upper, lower, digit, space, newline, blank, apostrophe, slash, high }
    }

    #[inline(always)]
    unsafe fn positions(mask: u64, base: u32, out: *mut u32) -> usize {
        let count = mask.count_ones() as usize;
        let mut rest = mask;
        let mut written = 0;
        // Four at a time, whether there are so many or not: the branch is then taken by fours.
        while written < count {
            for lane in 0..4 {
                // SAFETY: fewer than 64 + 4 values are written; the caller gave 64 + SLACK.
                unsafe { out.add(written + lane).write(base.wrapping_add(rest.trailing_zeros())) };
                rest &= rest.wrapping_sub(1);
            }
            written += 4;
        }
        count
    }
}

/// Bit c of byte r becomes bit r of byte c.
#[inline(always)]
fn transpose(mut word: u64) -> u64 {
    let mut swap = |shift: u32, mask: u64| {
        let moved = (word ^ word >> shift) & mask;
        word ^= moved ^ moved << shift;
    };
    swap(7, 0x00aa_00aa_00aa_00aa);
    swap(14, 0x0000_cccc_0000_cccc);
    swap(28, 0x0000_0000_f0f0_f0f0);
    word
}

//! The two steps of a scanner that vector instructions do: 64 bytes to masks of ASCII classes, and a mask of boundaries
//! to positions. Which variant runs is decided at run time; the scalar one is always there and is the others' oracle.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(target_arch = "x86_64")]
mod wide512;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
#[cfg(target_arch = "aarch64")]
pub use neon::Neon;
pub use scalar::Scalar;

use super::unicode::{Tables, CLASSES};

/// Bit i speaks of byte i of a window of 64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ascii {
    pub letter: u64,
    pub upper: u64,
    pub lower: u64,
    pub digit: u64,
    /// `\t \n \v \f \r` and space.
    pub space: u64,
    /// `\r \n`
    pub newline: u64,
    /// The space character alone.
    pub blank: u64,
    pub apostrophe: u64,
    pub slash: u64,
    /// Bytes from 0x80 up.
    pub high: u64,
}

/// The characters beyond ASCII of a window.
pub struct Wide {
    /// A mask a class, as [`Tables`] numbers them.
    pub classes: [u64; CLASSES],
    /// Bytes after the first of a character.
    pub rest: u64,
}

/// Positions that [`Simd::positions`] may write past the last one that counts.
pub const SLACK: usize = 64;

/// # Safety
/// The methods of a variant may only run where [`Variant::available`] says so.
pub unsafe trait Simd {
    /// # Safety
    /// 64 bytes at `bytes` must be readable.
    unsafe fn classify(bytes: *const u8) -> Ascii;

    /// The classes of all characters beyond ASCII, where every one in the window is well-formed and this variant is
    /// faster than one at a time. Bit 0 is at `text[origin]`.
    ///
    /// # Safety
    /// 64 bytes must be readable from `text[origin]` on.
    #[inline(always)]
    unsafe fn wide(_high: u64, _text: &[u8], _origin: usize, _tables: &Tables) -> Option<Wide> {
        None
    }

    /// Writes `base + i`, wrapping, for every bit i of `mask`, in order, and returns how many.
    ///
    /// # Safety
    /// `64 + SLACK` values at `out` must be writable.
    unsafe fn positions(mask: u64, base: u32, out: *mut u32) -> usize;
}

/// A set of instructions that scanners are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Variant {
    /// What this processor runs, the best last.
    pub fn available() -> Vec<Variant> {
        let mut variants = vec![Variant::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            let bits = is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2");
            let counts = is_x86_feature_detected!("popcnt") && is_x86_feature_detected!("lzcnt");
            if is_x86_feature_detected!("avx2") && bits && counts {
                variants.push(Variant::Avx2);
                let words = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
                let bytes = is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512vbmi2");
                if words && bytes && is_x86_feature_detected!("avx512bitalg") {
                    variants.push(Variant::Avx512);
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        variants.push(Variant::Neon);
        variants
    }

    pub fn best() -> Variant {
        Variant::available().pop().unwrap_or(Variant::Scalar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify(variant: Variant, bytes: &[u8; 64]) -> Ascii {
        // SAFETY: `bytes` are 64, and the caller's variant is available.
        unsafe {
            match variant {
                Variant::Scalar => Scalar::classify(bytes.as_ptr()),
                #[cfg(target_arch = "x86_64")]
                Variant::Avx2 => Avx2::classify(bytes.as_ptr()),
                #[cfg(target_arch = "x86_64")]
                Variant::Avx512 => Avx512::classify(bytes.as_ptr()),
                #[cfg(target_arch = "aarch64")]
                Variant::Neon => Neon::classify(bytes.as_ptr()),
            }
        }
    }

    fn positions(variant: Variant, mask: u64, base: u32) -> Vec<u32> {
        let mut out = vec![0; 64 + SLACK];
        // SAFETY: `out` has the room asked for, and the caller's variant is available.
        let count = unsafe {
            match variant {
                Variant::Scalar => Scalar::positions(mask, base, out.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Variant::Avx2 => Avx2::positions(mask, base, out.as_mut_ptr()),
                #[cfg(target_arch = "x86_64")]
                Variant::Avx512 => Avx512::positions(mask, base, out.as_mut_ptr()),
                #[cfg(target_arch = "aarch64")]
                Variant::Neon => Neon::positions(mask, base, out.as_mut_ptr()),
            }
        };
        out.truncate(count);
        out
    }

    #[test]
    fn every_variant_classifies_every_byte_in_every_place() {
        for shift in 0..=255u8 {
            let bytes: [u8; 64] = std::array::from_fn(|place| (place as u8).wrapping_mul(37).wrapping_add(shift));
            let mask = |is: &dyn Fn(u8) -> bool| (0..64).fold(0, |mask, i| mask | u64::from(is(bytes[i])) << i);
            let expected = Ascii {
                letter: mask(&|byte| byte.is_ascii_alphabetic()),
                upper: mask(&|byte| byte.is_ascii_uppercase()),
                lower: mask(&|byte| byte.is_ascii_lowercase()),
                digit: mask(&|byte| byte.is_ascii_digit()),
                space: mask(&|byte| b"\t\n\x0b\x0c\r ".contains(&byte)),
                newline: mask(&|byte| b"\r\n".contains(&byte)),
                blank: mask(&|byte| byte == b' '),
                apostrophe: mask(&|byte| byte == b'\''),
                slash: mask(&|byte| byte == b'/'),
                high: mask(&|byte| byte >= 0x80),
            };
            for variant in Variant::available() {
                assert_eq!(classify(variant, &bytes), expected, "{variant:?} {bytes:x?}");
            }
        }
    }

    #[test]
    fn every_variant_lists_the_bits_of_a_mask() {
        let mut mask = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..2000 {
            mask = mask.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(round);
            for mask in [mask, mask & mask << 7 & mask << 13, mask | mask << 3, 0, !0, 1, 1 << 63] {
                let expected: Vec<u32> = (0..64).filter(|i| mask >> i & 1 == 1).map(|i| i + 1_000_000).collect();
                for variant in Variant::available() {
                    assert_eq!(positions(variant, mask, 1_000_000), expected, "{variant:?} {mask:x}");
                }
            }
        }
    }
}

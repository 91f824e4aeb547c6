//! Up to 15 bytes as one number, which compares and hashes in a few instructions.

/// Most bytes that have a key: its length takes the sixteenth byte.
pub const LONGEST: usize = 15;

/// The first bytes of a `u128`: a shift of 128 bits by a variable is eight instructions, this is one load. The mask of
/// 16 is zero: the bytes of what is too long for a key are dropped, and only its length makes the key.
static MASKS: [u128; 17] = masks();

const fn masks() -> [u128; 17] {
    let mut masks = [0; 17];
    let mut length = 1;
    while length < 16 {
        masks[length] = u128::MAX >> (128 - 8 * length);
        length += 1;
    }
    masks
}

/// The key of the first `length` bytes of `word`, 16 at most; that of 16 belongs to no bytes.
#[inline(always)]
pub fn of_word(word: u128, length: usize) -> u128 {
    debug_assert!(length <= 16);
    // SAFETY: there are 17 masks, and a length is 16 at most
    let mask = unsafe { MASKS.get_unchecked(length) };
    word & mask | (length as u128) << 120
}

/// The key of the `length` bytes at an address, or one that belongs to none where they are more than 15.
///
/// # Safety
/// 16 bytes can be read there.
#[inline(always)]
pub unsafe fn key_at(address: *const u8, length: usize) -> u128 {
    // SAFETY: 16 bytes can be read there, aligned or not
    let word = u128::from_le(unsafe { address.cast::<u128>().read_unaligned() });
    of_word(word, length.min(16))
}

/// The key of 1 to 15 bytes.
pub fn key_of(bytes: &[u8]) -> u128 {
    let mut word = [0; 16];
    word[..bytes.len()].copy_from_slice(bytes);
    of_word(u128::from_le_bytes(word), bytes.len())
}

/// A hash whose upper and lower bits are both good.
#[inline(always)]
pub fn fold(key: u128) -> u64 {
    let product =
        u128::from(key as u64 ^ 0x9e37_79b9_7f4a_7c15) * u128::from((key >> 64) as u64 ^ 0xd6e8_feb8_6659_fd93);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_bytes_apart_that_differ_in_zeros_alone() {
        let text = [b'a', 0, 0, 0, b'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut keys: Vec<u128> = (1..=15).map(|length| key_of(&text[..length])).collect();
        for (length, &key) in (1..).zip(&keys) {
            // SAFETY: the text has 18 bytes
            assert_eq!(unsafe { key_at(text.as_ptr(), length) }, key);
        }
        // SAFETY: the text has 18 bytes, and lengths do not decide how many are read
        let long = [16, 17, 21, 1000].map(|length| unsafe { key_at(text.as_ptr(), length) });
        assert!(long.iter().all(|key| !keys.contains(key)));
        keys.dedup();
        assert_eq!(keys.len(), 15);
    }
}

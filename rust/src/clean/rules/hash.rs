//! Hashes of what lies in sixteen bytes and of longer bytes, for tables that compare what they find.

/// The first `length` of sixteen bytes, the others zero.
#[inline(always)]
pub fn cut(sixteen: u128, length: usize) -> u128 {
    if length < 16 {
        sixteen & ((1 << (8 * length)) - 1)
    } else {
        sixteen
    }
}

/// Of sixteen bytes and a number.
#[inline(always)]
pub fn short(sixteen: u128, more: u64) -> u64 {
    let (low, high) = (sixteen as u64, (sixteen >> 64) as u64);
    fold(low ^ more.wrapping_mul(0x9e37_79b9_7f4a_7c15), high ^ 0xd6e8_feb8_6659_fd93)
}

/// Of two numbers.
#[inline(always)]
pub fn pair(left: u32, right: u32) -> u64 {
    fold((u64::from(left) << 32 | u64::from(right)) ^ 0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93)
}

#[inline(always)]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

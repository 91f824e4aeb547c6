//! Asking for a cache line before it is read.

/// Asks for the cache line at an address, which may be any: a hint reads nothing and faults nowhere. Look-ups of pairs
/// and of pre-tokens miss every cache, and rest on hundreds of them being on their way at once.
#[inline(always)]
pub fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE, and the instruction accesses no memory that a program can see
    unsafe {
        use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
        _mm_prefetch(address.cast(), _MM_HINT_T0);
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: the instruction is part of every AArch64, changes no register and accesses no memory that a program can
    // see
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", all(target_arch = "aarch64", not(miri)))))]
    let _ = address;
}

/// Asks for the line that holds `items[at]`; there need be none.
#[inline(always)]
pub fn prefetch_item<T>(items: &[T], at: usize) {
    prefetch(items.as_ptr().wrapping_add(at));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_may_be_asked_for() {
        prefetch(std::ptr::null::<u64>());
        prefetch(usize::MAX as *const u8);
        let items = [1_u64, 2, 3];
        (0..1000).for_each(|at| prefetch_item(&items, at));
        assert_eq!(items, [1, 2, 3]);
    }
}

//! Memory of large results that waits for the next one: an array of ids that nobody needs any more serves again.

use std::sync::PoisonError;

use super::huge::prefer_huge_pages;
use crate::id::Id;

/// Bytes from which on an array is worth huge pages, and keeping: faulting in small ones takes as long as a fifth of
/// the encoding, and in a virtual machine pages that were given back may have gone to the host.
const LARGE: usize = 2 << 20;
/// Bytes of the largest array that is kept for the next result.
const KEPT: usize = 128 << 20;

/// An empty vector with room for so many ids.
pub fn spare_or_new<T: Id>(count: usize) -> Vec<T> {
    if count * size_of::<T>() < LARGE {
        return Vec::with_capacity(count);
    }
    let mut spare = T::spare().lock().unwrap_or_else(PoisonError::into_inner);
    // a small result that lives long must not hold much memory
    if (count..=4 * count).contains(&spare.capacity()) {
        return std::mem::take(&mut spare);
    }
    drop(spare);
    let ids: Vec<T> = Vec::with_capacity(count);
    prefer_huge_pages(ids.as_ptr().cast(), ids.capacity() * size_of::<T>());
    ids
}

/// Keeps the memory of a result that nobody needs any more: of each width the largest one.
pub fn keep_spare<T: Id>(mut ids: Vec<T>) {
    if (LARGE..=KEPT).contains(&(ids.capacity() * size_of::<T>())) {
        ids.clear();
        let mut spare = T::spare().lock().unwrap_or_else(PoisonError::into_inner);
        if spare.capacity() < ids.capacity() {
            std::mem::swap(&mut *spare, &mut ids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_result_serves_the_next_of_its_size_and_no_small_one() {
        let mut ids: Vec<u32> = spare_or_new(LARGE);
        ids.push(7);
        let memory = ids.as_ptr();
        keep_spare(ids);
        let small: Vec<u32> = spare_or_new(LARGE / 8);
        assert_ne!(small.as_ptr(), memory);
        let large: Vec<u32> = spare_or_new(LARGE / 2);
        assert!(large.as_ptr() == memory && large.is_empty());
        let other: Vec<u32> = spare_or_new(LARGE / 2);
        assert_ne!(other.as_ptr(), memory);
        keep_spare(other);
        keep_spare(large);
        let larger: Vec<u32> = spare_or_new(LARGE / 2);
        assert_eq!(larger.as_ptr(), memory);
        keep_spare(Vec::<u32>::with_capacity(KEPT));
        assert_eq!(u32::spare().lock().unwrap().capacity(), 0, "too much is not kept");
    }
}

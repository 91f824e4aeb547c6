//! Tables that were made here, or that lie in a mapped file as they were made before.

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use memmap2::Mmap;

/// Numbers and arrays of them.
///
/// # Safety
/// Every byte belongs to a value, and any bytes are a valid value.
pub unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: an integer
unsafe impl Plain for u8 {}
// SAFETY: an integer
unsafe impl Plain for u16 {}
// SAFETY: an integer
unsafe impl Plain for u32 {}
// SAFETY: an integer
unsafe impl Plain for u64 {}
// SAFETY: an integer
unsafe impl Plain for u128 {}
// SAFETY: plain values without gaps between them
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A slice and what keeps it alive: reading it asks no question of where it lies.
pub struct MappedSlice<T: 'static> {
    slice: &'static [T],
    _owner: Owner<T>,
}

enum Owner<T> {
    /// From a box, whose memory it is now: a box itself would be the only one that may be read.
    Made(NonNull<[T]>),
    Mapped {
        _map: Arc<Mmap>,
    },
}

// SAFETY: what it owns is sent and shared as a box of it would be
unsafe impl<T: Send> Send for Owner<T> {}
// SAFETY: what it owns is only read through a shared reference, as in a box
unsafe impl<T: Sync> Sync for Owner<T> {}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        if let Self::Made(made) = self {
            // SAFETY: the box that it came from, and the slice into it goes with this owner
            drop(unsafe { Box::from_raw(made.as_ptr()) });
        }
    }
}

impl<T> From<Box<[T]>> for MappedSlice<T> {
    fn from(made: Box<[T]>) -> Self {
        let made = NonNull::from(Box::leak(made));
        // SAFETY: the memory does not move, and lives as long as the slice is lent out by `deref`
        let slice = unsafe { made.as_ref() };
        Self { slice, _owner: Owner::Made(made) }
    }
}

impl<T> From<Vec<T>> for MappedSlice<T> {
    fn from(made: Vec<T>) -> Self {
        made.into_boxed_slice().into()
    }
}

impl<T> FromIterator<T> for MappedSlice<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        values.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T> Deref for MappedSlice<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        self.slice
    }
}

impl<T: Plain> MappedSlice<T> {
    /// `count` values from `at` on in a map that nobody changes; None where they are not all there.
    pub fn mapped(map: &Arc<Mmap>, at: usize, count: usize) -> Option<Self> {
        let bytes = map.get(at..at.checked_add(count.checked_mul(size_of::<T>())?)?)?;
        // SAFETY: any bytes are values of `T`
        let (before, slice, after) = unsafe { bytes.align_to::<T>() };
        if !before.is_empty() || !after.is_empty() {
            return None;
        }
        // SAFETY: the map does not move, and lives as long as the slice is lent out by `deref`
        let slice = unsafe { std::slice::from_raw_parts(slice.as_ptr(), slice.len()) };
        Some(Self { slice, _owner: Owner::Mapped { _map: map.clone() } })
    }

    /// As they lie in memory.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: every byte belongs to a value
        unsafe { std::slice::from_raw_parts(self.slice.as_ptr().cast(), size_of_val(self.slice)) }
    }
}

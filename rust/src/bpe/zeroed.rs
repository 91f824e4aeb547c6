//! A table on huge pages.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use memmap2::MmapMut;

use super::table::Plain;

/// Zeroed entries on huge pages where the system gives them: with small ones every look-up misses the first-level
/// translation buffer, which reaches over 400 kB. The memory comes from the system, which has zeroed it: an allocator's
/// would have to be zeroed once more.
pub struct Zeroed<E> {
    memory: NonNull<E>,
    count: usize,
    _map: MmapMut,
    _entries: PhantomData<E>,
}

// SAFETY: it owns its memory, as a box does
unsafe impl<E: Plain> Send for Zeroed<E> {}
// SAFETY: as above
unsafe impl<E: Plain> Sync for Zeroed<E> {}

/// Where a huge page may begin.
const HUGE: usize = 2 << 20;

impl<E: Plain> Zeroed<E> {
    pub fn new(count: usize) -> Self {
        let bytes = count * size_of::<E>();
        let mut map = MmapMut::map_anon(bytes + HUGE).expect("a few megabytes");
        let start = map.as_ptr().align_offset(HUGE);
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes);
        // SAFETY: `start` is less than a huge page
        let memory = unsafe { NonNull::new_unchecked(map.as_mut_ptr().add(start)) }.cast::<E>();
        Self { memory, count, _map: map, _entries: PhantomData }
    }
}

impl<E> Deref for Zeroed<E> {
    type Target = [E];

    #[inline(always)]
    fn deref(&self) -> &[E] {
        // SAFETY: `count` entries lie there, and zeros are an `E`
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.count) }
    }
}

impl<E> DerefMut for Zeroed<E> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: as above, and `self` is borrowed alone
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.count) }
    }
}

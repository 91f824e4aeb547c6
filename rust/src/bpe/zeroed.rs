//! A table on huge pages.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::table::Plain;

/// Zeroed entries on huge pages where the system gives them: with small ones every look-up misses the first-level
/// translation buffer, which reaches over 400 kB.
pub struct Zeroed<E> {
    memory: NonNull<E>,
    layout: Layout,
    count: usize,
}

// SAFETY: it owns its memory, as a box does
unsafe impl<E: Plain> Send for Zeroed<E> {}
// SAFETY: as above
unsafe impl<E: Plain> Sync for Zeroed<E> {}

impl<E: Plain> Zeroed<E> {
    pub fn new(count: usize) -> Self {
        let layout = Layout::array::<E>(count).and_then(|layout| layout.align_to(2 << 20)).expect("a few megabytes");
        // SAFETY: the layout is not empty
        let Some(memory) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        // SAFETY: advice about memory that was just allocated and is not touched yet
        unsafe {
            libc::madvise(memory.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
        }
        let memory = memory.cast::<E>();
        // SAFETY: all of it was allocated above, and zeros are an `E`
        unsafe { memory.as_ptr().write_bytes(0, count) };
        Self { memory, layout, count }
    }
}

impl<E> Drop for Zeroed<E> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout
        unsafe { dealloc(self.memory.as_ptr().cast(), self.layout) };
    }
}

impl<E> Deref for Zeroed<E> {
    type Target = [E];

    #[inline(always)]
    fn deref(&self) -> &[E] {
        // SAFETY: `count` entries were written there
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

//! Memory on huge pages: zeroed tables, and results of megabytes.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use memmap2::MmapMut;

use super::mapped_slice::Plain;

/// Zeroed entries on huge pages where the system gives them: with small ones every look-up misses the first-level
/// translation buffer, which reaches over 400 kB. The memory comes from the system, which has zeroed it: an allocator's
/// would have to be zeroed once more.
pub struct Zeroed<E> {
    memory: NonNull<E>,
    count: usize,
    _map: MmapMut,
    _entries: PhantomData<E>,
}

// SAFETY: the map belongs to this value alone, and entries are numbers, which any thread may have
unsafe impl<E: Plain> Send for Zeroed<E> {}
// SAFETY: a shared reference only reads numbers
unsafe impl<E: Plain> Sync for Zeroed<E> {}

/// Where a huge page may begin.
const HUGE: usize = 2 << 20;

impl<E: Plain> Zeroed<E> {
    pub fn new(count: usize) -> Self {
        let bytes = count * size_of::<E>();
        let mut map = MmapMut::map_anon(bytes + HUGE).expect("a few megabytes");
        let start = map.as_ptr().align_offset(HUGE);
        #[cfg(all(target_os = "linux", not(miri)))]
        let _ = map.advise_range(memmap2::Advice::HugePage, start, bytes);
        // SAFETY: `start` is less than the huge page by which the map is longer than the entries
        let memory = unsafe { NonNull::new_unchecked(map.as_mut_ptr().add(start)) }.cast::<E>();
        Self { memory, count, _map: map, _entries: PhantomData }
    }
}

impl<E> Deref for Zeroed<E> {
    type Target = [E];

    #[inline(always)]
    fn deref(&self) -> &[E] {
        // SAFETY: `new` left room for `count` entries there, aligned to a huge page, and any bytes are an `E`
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.count) }
    }
}

impl<E> DerefMut for Zeroed<E> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [E] {
        // SAFETY: `new` left room for `count` entries there, any bytes are an `E`, and `self` is borrowed alone
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.count) }
    }
}

/// Bytes of a page: 4 KiB on most machines, 16 on Apple's, 64 on some servers.
pub fn page_size() -> usize {
    static SIZE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    // SAFETY: a question without an argument in memory
    *SIZE.get_or_init(|| usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(1 << 12))
}

/// The whole pages among the `bytes` bytes at `start`, as an address and a length; None where there is none.
pub fn whole_pages(start: *const u8, bytes: usize) -> Option<(usize, usize)> {
    let page = page_size();
    let (first, end) = ((start as usize).next_multiple_of(page), (start as usize + bytes) / page * page);
    (first < end).then(|| (first, end - first))
}

/// Asks for huge pages under memory that somebody else allocated and nobody has touched yet.
pub fn prefer_huge_pages(start: *const u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    if let Some((first, length)) = whole_pages(start, bytes) {
        // SAFETY: advice changes how memory is backed, never what it holds, and fails where it is not mapped
        unsafe { libc::madvise(first as *mut libc::c_void, length, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_pages_lie_inside_and_are_all_there_are() {
        let page = page_size();
        let at = |place: usize| std::ptr::without_provenance::<u8>(place);
        assert_eq!(whole_pages(at(7 * page), 3 * page), Some((7 * page, 3 * page)));
        assert_eq!(whole_pages(at(7 * page - 1), 3 * page), Some((7 * page, 2 * page)));
        assert_eq!(whole_pages(at(7 * page + 1), page), None);
    }

    #[test]
    fn a_zeroed_table_is_zeroed_aligned_and_written() {
        let mut table = Zeroed::<u64>::new(1000);
        assert!(table.iter().all(|&entry| entry == 0) && table.len() == 1000);
        assert_eq!(table.as_ptr() as usize % HUGE, 0);
        table[999] = 7;
        assert_eq!(table.iter().sum::<u64>(), 7);
    }
}

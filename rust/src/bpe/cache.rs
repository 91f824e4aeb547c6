//! Pieces seen before, up to 15 bytes long, with their ids: two entries a cache line, of fixed size in memory.

use std::alloc::{alloc, dealloc, handle_alloc_error, Layout as MemoryLayout};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use super::encode::Id;

/// Longest piece that is kept: its length takes the sixteenth byte.
pub const LONGEST: usize = 15;

/// How the ids of one piece lie in 16 bytes, and how they get out.
pub trait Layout: Copy + Send + Sync + 'static {
    /// Ids that fit.
    const MOST: usize;

    fn pack(ids: &[u32]) -> [u64; 2];

    /// Writes the ids and perhaps some more that the next write covers; returns how many count.
    ///
    /// # Safety
    /// `out` has room for [`SLACK`] ids.
    unsafe fn unpack<T: Id>(packed: [u64; 2], out: *mut T) -> usize;
}

/// Ids that a write may touch beyond those that count.
pub const SLACK: usize = 8;

/// Vocabularies of at most 65,536 ids: seven of 16 bits, and the count.
#[derive(Clone, Copy)]
pub struct Narrow;

/// Four ids of 21 bits in 32, and the count in the highest bits.
#[derive(Clone, Copy)]
pub struct Wide;

impl Layout for Narrow {
    const MOST: usize = 7;

    fn pack(ids: &[u32]) -> [u64; 2] {
        let mut lanes = [0_u64; 8];
        for (lane, &id) in lanes.iter_mut().zip(ids) {
            *lane = id.into();
        }
        lanes[7] = ids.len() as u64;
        let half = |lanes: &[u64]| lanes[0] | lanes[1] << 16 | lanes[2] << 32 | lanes[3] << 48;
        [half(&lanes[..4]), half(&lanes[4..])]
    }

    #[inline(always)]
    unsafe fn unpack<T: Id>(packed: [u64; 2], out: *mut T) -> usize {
        if size_of::<T>() == 2 && cfg!(target_endian = "little") {
            // SAFETY: eight ids of two bytes
            unsafe { out.cast::<[u64; 2]>().write_unaligned(packed) };
        } else {
            for lane in 0..8 {
                let id = (packed[lane / 4] >> (lane % 4 * 16)) as u16;
                // SAFETY: eight ids
                unsafe { out.add(lane).write(T::from_u32(id.into())) };
            }
        }
        (packed[1] >> 48) as usize
    }
}

impl Layout for Wide {
    const MOST: usize = 4;

    fn pack(ids: &[u32]) -> [u64; 2] {
        let mut lanes = [0_u64; 4];
        for (lane, &id) in lanes.iter_mut().zip(ids) {
            *lane = id.into();
        }
        [lanes[0] | lanes[1] << 32, lanes[2] | lanes[3] << 32 | (ids.len() as u64) << 60]
    }

    #[inline(always)]
    unsafe fn unpack<T: Id>(packed: [u64; 2], out: *mut T) -> usize {
        let ids = [packed[0], packed[1] & ((1 << 60) - 1)];
        if size_of::<T>() == 4 && cfg!(target_endian = "little") {
            // SAFETY: four ids of four bytes
            unsafe { out.cast::<[u64; 2]>().write_unaligned(ids) };
        } else {
            for lane in 0..4 {
                // SAFETY: four ids
                unsafe { out.add(lane).write(T::from_u32((ids[lane / 2] >> (lane % 2 * 32)) as u32)) };
            }
        }
        (packed[1] >> 60) as usize
    }
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(32))]
struct Entry {
    /// Bytes of the piece, zeros, and its length; zero where nothing is kept.
    key: u128,
    ids: [u64; 2],
}

#[derive(Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([Entry; 2]);

/// Zeroed lines on huge pages where the system gives them: with small ones every look-up misses the first-level
/// translation buffer, which reaches over 400 kB.
struct Lines {
    memory: NonNull<Line>,
    layout: MemoryLayout,
    count: usize,
}

// SAFETY: it owns its memory, as a box does
unsafe impl Send for Lines {}
// SAFETY: as above
unsafe impl Sync for Lines {}

impl Lines {
    fn new(count: usize) -> Self {
        let layout =
            MemoryLayout::array::<Line>(count).and_then(|layout| layout.align_to(2 << 20)).expect("a few megabytes");
        // SAFETY: the layout is not empty
        let Some(memory) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let memory = memory.cast::<Line>();
        #[cfg(target_os = "linux")]
        // SAFETY: advice about memory that was just allocated and is not touched yet
        unsafe {
            libc::madvise(memory.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE);
        }
        // SAFETY: all of it was allocated above, and zeros are a `Line`
        unsafe { memory.as_ptr().write_bytes(0, count) };
        Self { memory, layout, count }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout
        unsafe { dealloc(self.memory.as_ptr().cast(), self.layout) };
    }
}

impl Deref for Lines {
    type Target = [Line];

    #[inline(always)]
    fn deref(&self) -> &[Line] {
        // SAFETY: `count` lines were written there
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.count) }
    }
}

impl DerefMut for Lines {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [Line] {
        // SAFETY: as above, and `self` is borrowed alone
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.count) }
    }
}

/// A set-associative cache: a piece lies in one of the two entries of its line, in the line beside it, or nowhere.
pub struct Cache {
    lines: Lines,
    shift: u32,
    turn: u32,
}

/// The first bytes of a `u128`: a shift of 128 bits by a variable is eight instructions, this is one load.
static MASKS: [u128; 16] = masks();

const fn masks() -> [u128; 16] {
    let mut masks = [0; 16];
    let mut length = 1;
    while length < 16 {
        masks[length] = u128::MAX >> (128 - 8 * length);
        length += 1;
    }
    masks
}

/// A piece of up to 15 bytes as a key. `readable` says that 16 bytes may be read where it starts.
#[inline(always)]
pub fn key(piece: &[u8], readable: bool) -> u128 {
    debug_assert!(!piece.is_empty() && piece.len() <= LONGEST);
    let bytes = if readable {
        // SAFETY: the caller says so
        u128::from_le(unsafe { piece.as_ptr().cast::<u128>().read_unaligned() }) & MASKS[piece.len() & LONGEST]
    } else {
        let mut bytes = [0; 16];
        bytes[..piece.len()].copy_from_slice(piece);
        u128::from_le_bytes(bytes)
    };
    bytes | (piece.len() as u128) << 120
}

impl Cache {
    /// `bits`: the binary logarithm of the number of lines.
    pub fn new(bits: u32) -> Self {
        Self { lines: Lines::new(1 << bits), shift: 64 - bits, turn: 0 }
    }

    #[inline(always)]
    pub fn line(&self, key: u128) -> usize {
        let product =
            u128::from(key as u64 ^ 0x9e37_79b9_7f4a_7c15) * u128::from((key >> 64) as u64 ^ 0xd6e8_feb8_6659_fd93);
        ((product as u64 ^ (product >> 64) as u64) >> self.shift) as usize
    }

    #[inline(always)]
    pub fn prefetch(&self, line: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, and the address is in the table
        unsafe {
            use std::arch::x86_64::{_mm_prefetch, _MM_HINT_T0};
            _mm_prefetch(self.lines.as_ptr().add(line).cast(), _MM_HINT_T0);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = line;
    }

    #[inline(always)]
    pub fn get(&self, line: usize, key: u128) -> Option<[u64; 2]> {
        // SAFETY: `line` comes from `Cache::line`, which yields fewer bits than there are lines
        let entries = unsafe { &self.lines.get_unchecked(line).0 };
        // which of the two is a matter of chance: chosen by arithmetic, for a branch would be guessed wrong
        let entry = &entries[usize::from(entries[1].key == key)];
        (entry.key == key).then_some(entry.ids)
    }

    /// Looks in the neighbouring line, where pieces wait that had to leave this one; what is found comes home.
    pub fn get_beside(&mut self, line: usize, key: u128) -> Option<[u64; 2]> {
        let found = self.lines[line ^ 1].0.iter().position(|entry| entry.key == key)?;
        let ids = self.lines[line ^ 1].0[found].ids;
        let home = self.next_turn();
        let leaving = std::mem::replace(&mut self.lines[line].0[home], Entry { key, ids });
        self.lines[line ^ 1].0[found] = leaving;
        Some(ids)
    }

    /// Keeps a piece whose ids are packed. Where its line is full one leaves for the neighbouring line, and one of
    /// those there is forgotten.
    pub fn put(&mut self, line: usize, key: u128, ids: [u64; 2]) {
        let free = |entries: &[Entry; 2]| entries.iter().position(|entry| entry.key == 0);
        let at = free(&self.lines[line].0).unwrap_or_else(|| self.next_turn());
        let leaving = std::mem::replace(&mut self.lines[line].0[at], Entry { key, ids });
        if leaving.key != 0 {
            let at = free(&self.lines[line ^ 1].0).unwrap_or_else(|| self.next_turn());
            self.lines[line ^ 1].0[at] = leaving;
        }
    }

    fn next_turn(&mut self) -> usize {
        self.turn = self.turn.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        (self.turn >> 31) as usize
    }

    /// As [`Cache::put`], but never in place of another.
    pub fn seed(&mut self, key: u128, ids: [u64; 2]) {
        let line = self.line(key);
        for line in [line, line ^ 1] {
            if let Some(entry) = self.lines[line].0.iter_mut().find(|entry| entry.key == 0 || entry.key == key) {
                *entry = Entry { key, ids };
                return;
            }
        }
    }
}

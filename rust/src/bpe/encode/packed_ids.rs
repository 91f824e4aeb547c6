//! The ids of one pre-token in 16 bytes, written with one store.

use crate::id::Id;

/// How the ids of one pre-token lie in 16 bytes, and how they get out.
pub trait Packing: Copy + Send + Sync + 'static {
    /// Ids that fit.
    const MOST: usize;
    /// Whether every id fits in 16 bits.
    const NARROW: bool;

    fn pack(ids: &[u32]) -> [u64; 2];

    /// How many ids are packed.
    fn count(packed: [u64; 2]) -> u32;

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

impl Packing for Narrow {
    const MOST: usize = 7;
    const NARROW: bool = true;

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
    fn count(packed: [u64; 2]) -> u32 {
        (packed[1] >> 48) as u32
    }

    #[inline(always)]
    unsafe fn unpack<T: Id>(packed: [u64; 2], out: *mut T) -> usize {
        if size_of::<T>() == 2 {
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

impl Packing for Wide {
    const MOST: usize = 4;
    const NARROW: bool = false;

    fn pack(ids: &[u32]) -> [u64; 2] {
        let mut lanes = [0_u64; 4];
        for (lane, &id) in lanes.iter_mut().zip(ids) {
            *lane = id.into();
        }
        [lanes[0] | lanes[1] << 32, lanes[2] | lanes[3] << 32 | (ids.len() as u64) << 60]
    }

    #[inline(always)]
    fn count(packed: [u64; 2]) -> u32 {
        (packed[1] >> 60) as u32
    }

    #[inline(always)]
    unsafe fn unpack<T: Id>(packed: [u64; 2], out: *mut T) -> usize {
        let ids = [packed[0], packed[1] & ((1 << 60) - 1)];
        if size_of::<T>() == 4 {
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

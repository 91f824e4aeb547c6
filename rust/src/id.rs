//! What an id is stored as: `u16` while every id of a vocabulary fits, else `u32`. Encoder, shards and trainer share
//! it.

use std::sync::Mutex;

/// Ids that 16 bits can tell apart.
const NARROW: usize = 1 << 16;

/// Whether the ids of a vocabulary of this size are stored in 16 bits.
pub fn is_narrow(vocab_size: usize) -> bool {
    vocab_size <= NARROW
}

/// `u16` or `u32`.
pub trait Id: Copy + Default + Eq + Send + Sync + 'static {
    fn from_u32(id: u32) -> Self;
    fn to_u32(self) -> u32;
    /// The ids as they lie in memory, which is how they lie on disk.
    fn bytes(ids: &[Self]) -> &[u8];
    /// Where the memory of results of this width waits for the next.
    fn spare() -> &'static Mutex<Vec<Self>>;
}

#[cfg(target_endian = "big")]
compile_error!("shards are little-endian, and ids are written as they lie in memory");

impl Id for u16 {
    #[inline(always)]
    fn from_u32(id: u32) -> Self {
        id as u16
    }

    #[inline(always)]
    fn to_u32(self) -> u32 {
        self.into()
    }

    fn bytes(ids: &[Self]) -> &[u8] {
        // SAFETY: a u16 is two initialised bytes, and bytes need no alignment
        unsafe { std::slice::from_raw_parts(ids.as_ptr().cast(), size_of_val(ids)) }
    }

    fn spare() -> &'static Mutex<Vec<Self>> {
        static SPARE: Mutex<Vec<u16>> = Mutex::new(Vec::new());
        &SPARE
    }
}

impl Id for u32 {
    #[inline(always)]
    fn from_u32(id: u32) -> Self {
        id
    }

    #[inline(always)]
    fn to_u32(self) -> u32 {
        self
    }

    fn bytes(ids: &[Self]) -> &[u8] {
        // SAFETY: a u32 is four initialised bytes, and bytes need no alignment
        unsafe { std::slice::from_raw_parts(ids.as_ptr().cast(), size_of_val(ids)) }
    }

    fn spare() -> &'static Mutex<Vec<Self>> {
        static SPARE: Mutex<Vec<u32>> = Mutex::new(Vec::new());
        &SPARE
    }
}

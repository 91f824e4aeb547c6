//! What one thread keeps between calls.

use super::long_cache::LongCache;
use super::misses::Misses;
use super::ring::Ring;
use super::short_cache::ShortCache;
use crate::bpe::merge::windows::WindowMerger;

/// What one thread needs to encode: its cache, and buffers that are kept between calls.
pub struct Scratch {
    /// The encoder whose ids the cache holds.
    pub(super) owner: u64,
    /// The worker whose it is.
    pub(super) worker: usize,
    pub(super) ends: Vec<u32>,
    pub(super) cache: ShortCache,
    pub(super) long: LongCache,
    pub(super) misses: Misses,
    pub(super) ring: Ring,
    pub(super) window_merger: WindowMerger,
}

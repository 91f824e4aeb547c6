//! Text to ids: pre-tokens are looked up where they were seen before, and merged where not.

mod batch;
mod compiled_file;
mod encoder;
mod hot_loop;
mod isa;
mod long_cache;
pub mod many;
mod misses;
mod packed_ids;
pub mod ragged;
mod ring;
mod scratch;
mod segments;
mod short_cache;
mod tables;

pub use encoder::Encoder;
pub use scratch::Scratch;

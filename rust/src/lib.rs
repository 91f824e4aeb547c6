//! Text to tokens: pre-tokenizers, BPE training and encoding, input files, token shards.
//!
//! Nothing here knows Python except [`python`], which exists under the `python` feature only.

pub mod bpe;
pub mod error;
pub mod id;
pub mod input;
mod lock;
pub mod memory;
pub mod pattern;
pub mod shard;
mod threads;
mod unique;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, Result};

/// The cargo profile that this library was compiled with (`release`, `quick`, …).
pub const PROFILE: &str = env!("PYLM_PROFILE");
/// The version of the distribution.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

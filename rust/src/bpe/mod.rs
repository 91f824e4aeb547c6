//! Byte-pair encoding: training merges and applying them.
//!
//! [`train`] counts and merges; [`vocab`] reads what was trained and makes it ready as a `model`; `merge` applies
//! merges to one pre-token; [`encode`] remembers what came of it.

pub mod alphabet;
pub mod encode;
mod merge;
mod model;
pub mod train;
pub mod vocab;

pub use encode::{Encoder, Scratch};
pub use vocab::specials::Allowed;
pub use vocab::Vocab;

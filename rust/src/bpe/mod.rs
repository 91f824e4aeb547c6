//! Byte-pair encoding: training merges and applying them.

pub mod alphabet;
mod cache;
pub mod encode;
mod exact;
mod joints;
mod json;
mod merge;
mod model;
mod pairs;
mod pieces;
mod ranks;
pub mod specials;
pub mod train;
mod trie;
pub mod vocab;

pub use encode::{Encoder, Id, Scratch};
pub use specials::Allowed;
pub use vocab::Vocab;

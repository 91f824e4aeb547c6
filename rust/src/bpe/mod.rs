//! Byte-pair encoding: training merges and applying them.

pub mod alphabet;
mod cache;
mod compiled;
pub mod encode;
mod exact;
pub mod flat;
mod hard;
mod joints;
mod json;
mod long;
mod merge;
mod model;
mod packed;
mod pairs;
pub mod parallel;
mod pending;
mod periodic;
mod pieces;
mod prefixes;
mod ranks;
mod side_by_side;
pub mod specials;
pub mod train;
pub mod vocab;
mod windows;

pub use encode::{Encoder, Scratch};
pub use specials::Allowed;
pub use vocab::Vocab;

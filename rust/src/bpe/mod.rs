//! Byte-pair encoding: training merges and applying them.

pub mod alphabet;
pub mod encode;
mod json;
mod merge;
mod model;
mod pairs;
mod ranks;
pub mod specials;
pub mod train;
pub mod vocab;

pub use encode::{Encoder, Id, Scratch};
pub use specials::Allowed;
pub use vocab::Vocab;

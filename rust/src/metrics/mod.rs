//! metrics.jsonl as columns: each key's numbers by line, an index beside the file that is opened instead of it, and
//! curves of so many columns of pixels that show every spike.
//!
//! A line is a flat object; a number within an object is `phase.data`. [`table`] takes lines apart, [`column`] keeps
//! what it finds, [`index`] writes that down, [`file`] follows a file that grows,
//! [`points`] joins two of its columns, [`curve`] draws.

mod column;
mod curve;
mod file;
mod index;
mod line;
mod pixels;
mod points;
mod table;
#[cfg(test)]
mod tests;
mod width;

pub use curve::{Curve, Sight};
pub use file::Metrics;
pub use pixels::pixels;

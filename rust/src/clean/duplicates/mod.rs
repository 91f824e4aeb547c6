//! Documents that are there more than once: the same to the letter, nearly the same, and parts that many share.
//!
//! **A document's way.** [`Sketcher`] makes two things of a text: a hash of all of it, and a sketch of a few dozen
//! numbers. `units` cuts it into words for that, `shingles` hashes runs of them, `bands` says how many numbers a
//! threshold asks for; `fineweb` does the same as datatrove does it, to the bit.
//!
//! **A folder's way.** [`clusters`] sorts what was written of all documents (`sort`, on disk where it outgrows memory)
//! and looks at those next to each other: who shares a hash is a copy, who shares a band may be nearly one, and
//! `verify` reads their texts again to know. `components` holds who belongs together, and [`survivors`] says who stays.
//!
//! **Parts.** [`repeats`] finds lines, paragraphs and spans of sentences that stand in other documents too.
//!
//! # Words
//!
//! - *unit*: a word without its case, or one character of a script that is written without spaces.
//! - *shingle*: five units in a row, or eight where a language is not spaced. *Jaccard*: the share of the shingles of
//!   two documents that both have.
//! - *band*: a few numbers of a sketch that are compared as one. *bucket*: the documents that share a band.
mod bands;
mod buckets;
mod clusters;
mod components;
mod entry;
pub mod fineweb;
pub mod given;
mod normal;
pub mod repeats;
mod settings;
mod shingles;
mod sketcher;
mod sort;
mod survivors;
mod units;
mod verify;

pub use clusters::{clusters, Clusters, Means, Sketched};
pub use settings::{Near, Settings};
pub use sketcher::{SetSketcher, Sketcher};
pub use survivors::{rehydrated, sizes, survivors};
pub use verify::{Place, Sets, Texts};

/// What stands for no cluster.
pub const ALONE: u32 = u32::MAX;

#[cfg(test)]
mod tests;

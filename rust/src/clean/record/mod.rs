//! What was found of each document, as records of one size: enough to decide again without its text.
//!
//! A folder `tags` holds `tags.json`, which says what the records are of, `records.bin`, `sketches.bin` (a hash of 16
//! bytes and a sketch) and `clusters.bin` (two numbers of 4 bytes: who is the same, who is nearly the same). Each of the
//! three has one entry a document, in the order of the sources.

mod files;
mod tag;

pub use files::{Clustered, Reader, Sketches, CLUSTERS, RECORDS, SCHEMA, SKETCHES};
pub use tag::{Tag, EMPTY};

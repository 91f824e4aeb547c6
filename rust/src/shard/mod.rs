//! Documents → files of token ids that survive anything.
//!
//! A [`Job`] lists the units of the sources and the runs of units that become shards, before anything is encoded; it is
//! all that decides a byte of the output. Worker threads take blocks from a [`Feed`](crate::input::Feed), encode them
//! and hand them to the shard's writer, which fixes their places in order and lets every thread write its own. After
//! each unit a record says how far the shard's files are good. The manifest comes last.

mod begin;
mod block;
mod encoder;
mod finish;
mod gather;
mod inspect;
mod limit;
mod manifest;
mod merged;
mod plan;
mod positioned_file;
mod progress;
mod record;
mod run;
mod sample;
mod task;
mod verify;
mod workers;
mod writer;

pub use crate::ranks::Share;
pub use encoder::{BpeEncoder, TextEncoder};
pub use gather::{gather, hash_documents, seal, Origin, Target, Tokens};
pub use inspect::{Document, Reader, Statistics};
pub use limit::{parse_count, Limit};
pub use manifest::{changed, Manifest, Shard, Split, Splits};
pub use plan::{Dtype, Header, Job, Request, Settings};
pub use progress::Progress;
pub use run::{run, Outcome};
pub use sample::{sample, Sample};
pub use task::{Files, Task};
pub use verify::{verify, Lengths, Problem, Verified};

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod tests;

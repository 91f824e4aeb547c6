//! Text to tokens: pre-tokenizers, BPE training and encoding, input files, token shards. And the metrics of runs.
//!
//! # Three ways through the crate
//!
//! **A text's way, to shards.** [`input`] finds the files, cuts them into units and those into blocks of documents
//! (`input::Feed`). A thread of `shard::workers` takes a block and hands its documents to the encoder
//! ([`shard::TextEncoder`]): [`pattern`] cuts a document into pre-tokens, `bpe::encode::hot_loop` writes the ids of
//! those that lie at home in the short cache, `misses` looks the others up together and merges the new ones, and
//! `segments` cuts what no cache should hold. `shard::block` collects the ids, `shard::writer` gives each block its
//! place and writes it, `shard::finish` joins what belongs together and writes the manifest.
//!
//! **A vocabulary's way.** `bpe::vocab` reads it, from a tokenizer.json, tiktoken's ranks, GPT-2's files or merges that
//! were trained here; `vocab::compile` numbers its tokens in the order of their merges and makes a `bpe::model` of it:
//! ranks of pairs, longest prefixes, borders that no token spans. `bpe::encode::tables` adds what encoding reads, and
//! `encode::compiled_file` keeps all of it to be mapped the next time.
//!
//! **A merge's way.** `bpe::train::count` counts pre-tokens (`spill` where they outgrow memory), `words` lays the
//! distinct ones out as symbols in one share or one a thread, `recount` lists where each pair occurs. Then `merge`
//! takes the most frequent pair, `occurrences` joins it wherever its list says and notes its neighbours, and
//! `pair_counts` learns what became more and less frequent, until there are enough.
//!
//! # Words
//!
//! - *pre-token*: what a pattern cuts off and no merge crosses; a *word* of training is a distinct one with its count.
//! - *segment*: a stretch of a long pre-token between two borders that no token spans.
//! - *rank*: the place of a merge in their order. *inner token*: a token numbered by the rank that makes it.
//! - *regular*: a vocabulary whose every token is what merging makes of its own bytes, by one merge. *whole*: a token
//!   that merging does not lead to, and that a pre-token is all the same where it equals it.
//! - *home*: the one place in the short cache where the loop looks. *miss*: a pre-token that was not there.
//! - *block*: about a megabyte of documents, what a thread takes at a time. *unit*: what is read in order, up to 64 MB.
//! - *lane*: the units that become one shard. *rank* of a process: which shards are its own.
//! - *scratch*: what a thread keeps between calls.
//!
//! Nothing here knows Python except [`python`], which exists under the `python` feature only.

pub mod bpe;
pub mod clean;
pub mod error;
mod files;
pub mod id;
pub mod input;
mod lock;
pub mod memory;
pub mod metrics;
pub mod pattern;
pub mod ranks;
pub mod shard;
mod spelling;
mod threads;
mod unique;

#[cfg(feature = "python")]
mod python;

pub use error::{Error, Result};

/// The cargo profile that this library was compiled with (`release`, `quick`, …).
pub const PROFILE: &str = env!("PYLM_PROFILE");
/// The version of the distribution.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

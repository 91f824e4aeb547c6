//! Parts of documents that stand in others too: lines, paragraphs, and spans of three sentences.
//!
//! [`Finder`] is told of every document's parts, sorts their hashes within memory, and [`Repeats`] knows which parts of
//! each document are to go: those of a part that enough documents have, but for the first in the documents' order.
//! `cut` says what a part is, and takes parts out of a text.

mod cut;
mod find;

pub use cut::{sentences_of, without, Kind, Parts};
pub use find::{Finder, Repeats};

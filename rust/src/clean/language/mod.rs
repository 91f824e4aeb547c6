//! What a text is written in, and what a classifier says of it.
//!
//! [`FastText`] reads any classifier of fastText's. [`Identifier`] names a text's language: with such a model, or with
//! the small one that is built in, which knows the languages of [`builtin::known`] and says `und` for others.

pub mod builtin;
mod classifier;
mod code;
mod fasttext;
mod names;
mod script;

use std::path::Path;

use crate::error::Result;

pub use classifier::{file_of, Classifier};
pub use code::Language;
pub use fasttext::{FastText, Scratch};
pub use names::{nearest, NAMES};
pub use script::Script;

/// Names the language of texts.
pub enum Identifier {
    BuiltIn,
    Model(Box<FastText>),
}

impl Identifier {
    /// One that asks a model for languages: lid.176's, `GlotLID`'s, or another whose labels are codes.
    pub fn open(path: &Path) -> Result<Self> {
        FastText::open(path).map(|model| Self::Model(Box::new(model)))
    }

    /// The language of a text and how sure that is, from 0 to 1. A text without letters is of no known one.
    pub fn identify(&self, text: &str, scratch: &mut Scratch) -> (Language, f32) {
        match self {
            Self::BuiltIn => builtin::identify(text, scratch),
            Self::Model(model) => match model.best(text, scratch) {
                Some((label, sure)) => (Language::of(&model.labels()[label], text), sure),
                None => (Language::UNKNOWN, 0.0),
            },
        }
    }
}

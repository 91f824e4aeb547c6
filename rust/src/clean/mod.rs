//! Text to better text: what is repaired, measured, compared and left out, and why.
//!
//! **A document's way.** [`repair`] mends its characters, [`language`] says what it is written in, [`rules`] takes its
//! measures (and drops lines where a rule works on lines), [`duplicates`] makes its fingerprint, [`contamination`]
//! looks for test items in it and [`private`] hides addresses. Each of these is a function of one text and of settings;
//! none knows where text comes from or goes. `run` reads the sources on threads, writes what was found as one small
//! record a document, and decides in a second pass over the records alone.
//!
//! # Words
//!
//! - *measure*: a number of a document, such as its words. *threshold*: where a rule draws the line, by its key.
//! - *reason*: the name under which a rule removes a document: datatrove's, where it has one.
//! - *family*: rules that are asked for by one name: `gopher_repetition`, `gopher`, `c4`, `fineweb`.
//! - *language*: as FineWeb-2 names them, `eng_Latn`; `und_Zzzz` where it is not known.
//! - *sketch*: what of a document is kept to find its near-duplicates. *shingle*: five words, or eight characters.
pub mod address;
pub mod contamination;
pub mod duplicates;
pub mod language;
pub mod private;
pub mod record;
pub mod repair;
pub mod rules;
pub mod run;
pub mod words;

//! What several functions are asked in the same words: threads, and how documents are read.

use crate::error::{Error, Result};
use crate::input::{Invalid, Separator};

/// A number of threads as a caller gives it: 0 for as many as there are cores.
pub(super) fn thread_count(given: i64) -> Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        Ok(threads) => Ok(threads),
        Err(_) => Err(Error::usage(format!("{given} threads cannot work")).hint("0 is as many as there are cores")),
    }
}

/// What `--split` says where nothing may be said.
pub(super) fn separator(split: Option<&str>) -> Result<Separator> {
    split.map_or_else(|| Ok(Separator::end_of_text()), Separator::parse)
}

/// What is done with bytes that are no UTF-8.
pub(super) fn invalid(word: &str) -> Result<Invalid> {
    match word {
        "error" => Ok(Invalid::Error),
        "replace" => Ok(Invalid::Replace),
        other => Err(Error::usage(format!("--invalid {other:?} is neither error nor replace"))),
    }
}

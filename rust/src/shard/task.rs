//! What is to be run and where, and which part of it is this process's.

use std::path::Path;

use super::plan::Job;
use super::progress::Progress;
use crate::error::Result;
use crate::input::Input;
use crate::ranks::Share;

/// What to run and where.
pub struct Task<'a> {
    pub job: &'a Job,
    pub input: &'a Input,
    pub folder: &'a Path,
    pub threads: usize,
    pub share: Share,
    pub force: bool,
    /// Makes what is written beside the shards once the folder is known to be ours: the tokenizer's own files.
    pub files: &'a Files<'a>,
}

/// Called at most once, by another thread while the first blocks are encoded: GPT-2's tokenizer.json takes 60 ms.
pub type Files<'a> = dyn Fn() -> Result<Vec<(String, Vec<u8>)>> + Sync + 'a;

/// Called five times a second; an error from it stops the run.
pub type Observer<'a> = dyn FnMut(&Progress) -> Result<()> + 'a;

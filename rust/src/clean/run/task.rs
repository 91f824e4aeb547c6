//! What is to be run and where, and which part of it is this process's.

use std::path::{Path, PathBuf};

use super::plan::Job;
use crate::error::Result;
use crate::files::PARTS;
use crate::input::Input;
use crate::ranks::Share;

/// What to run and where.
pub struct Task<'a> {
    pub job: &'a Job,
    pub input: &'a Input,
    pub folder: &'a Path,
    pub threads: usize,
    /// Bytes that finding duplicates may use.
    pub memory: usize,
    pub share: Share,
    pub force: bool,
    /// Writes what shows report.json, once that is there.
    pub show: &'a (dyn Fn(&Path) -> Result<()> + Sync),
}

impl Task<'_> {
    pub(super) fn parts(&self) -> PathBuf {
        self.folder.join(PARTS)
    }
}

/// How far the work is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Progress {
    pub seconds: f64,
    /// Of text, done by this call.
    pub bytes: u64,
    pub total_bytes: u64,
    /// What was done by earlier calls.
    pub done_before: u64,
    pub documents: u64,
}

/// Called five times a second; an error from it stops the run.
pub type Observer<'a> = dyn FnMut(&Progress) -> Result<()> + 'a;

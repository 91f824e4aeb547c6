//! Sources → a folder of cleaned text that survives anything.
//!
//! A [`Job`] lists the units of the sources before anything is read through. Worker threads take blocks from a
//! [`Feed`](crate::input::Feed), and `chain` makes of each document a record, a sketch and a text, which `part` writes
//! in order: a part is whole or not there. When all are there, whoever comes last `finish`es: `tags` joins the records,
//! `judge` and `decide` say what stays, `write` and `report` write it down. The manifest comes last.

mod again;
mod asked;
mod begin;
mod chain;
mod decide;
mod drops;
mod finish;
mod judge;
mod line;
mod output;
mod part;
mod plan;
mod report;
mod request;
mod rethreshold;
mod tags;
mod task;
mod texts;
mod walk;
mod workers;
mod worth;
mod write;

use serde_json::Value;

use crate::clean::contamination::Item;
use crate::error::{Error, Result};
use crate::ranks::Share;

use begin::{begin, refuse_other, Begun};
use chain::Chain;
use finish::finish;

pub use plan::Job;
pub use request::{Keep, Private, Request, Test};
pub use rethreshold::{job_of, Again};
pub use task::{Observer, Progress, Task};

#[derive(Debug)]
pub struct Outcome {
    /// None while other ranks have work to do.
    pub manifest: Option<Value>,
    /// Nothing was left to do.
    pub found: bool,
    pub progress: Progress,
    /// Files that `--force` replaced.
    pub replaced: usize,
    /// Units that other ranks have yet to clean.
    pub missing: usize,
}

/// Cleans what is missing of the job, and finishes it if nothing is missing afterwards. `items` are those of the tests
/// that the request names.
pub fn run(task: &Task<'_>, items: Vec<Item>, observe: &mut Observer<'_>) -> Result<Outcome> {
    let Share { rank, world } = task.share;
    Share::new(rank as i64, world as i64)?;
    if task.force && world > 1 {
        return Err(Error::usage("one rank of several cannot replace what the others write")
            .hint(format!("remove {} and leave --force out", task.folder.display())));
    }
    refuse_other(task.folder, task.job, task.force)?;
    let chain = Chain::new(&task.job.request, items)?;
    let (own, replaced) = match begin(task)? {
        Begun::Finished(manifest) => {
            let progress = Progress::default();
            return Ok(Outcome { manifest: Some(manifest), found: true, progress, replaced: 0, missing: 0 });
        }
        Begun::Working(own, replaced) => (own, replaced),
    };
    let progress = workers::make_parts(task, &chain, observe)?;
    task.input.check_unchanged()?;
    let (manifest, missing) = finish(task, &chain, &own)?;
    Ok(Outcome { manifest, found: false, progress, replaced, missing })
}

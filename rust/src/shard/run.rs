//! Running a job: threads, locks, what to do again and what to leave.

use std::sync::atomic::{AtomicBool, Ordering};

use super::begin::{begin, complete, finished_by_another, refuse_conflict, tidy_finished, write_beside, Begun};
use super::encoder::TextEncoder;
use super::finish::finish;
use super::manifest::Manifest;
use super::plan::Dtype;
use super::progress::Progress;
use super::task::{Observer, Task};
use super::workers::encode;
use crate::error::{Error, Result};
use crate::ranks::Share;
use crate::threads::spawn;

#[derive(Debug)]
pub struct Outcome {
    /// None while other ranks have work to do.
    pub manifest: Option<Manifest>,
    /// Nothing was left to do.
    pub found: bool,
    pub progress: Progress,
    /// What `--force` replaced.
    pub replaced: Option<String>,
    /// Shards that other ranks have yet to write.
    pub missing: usize,
}

/// Encodes what is missing of the job, and finishes it if nothing is missing afterwards.
pub fn run<E: TextEncoder>(task: &Task<'_>, encoder: &E, observe: &mut Observer<'_>) -> Result<Outcome> {
    let Share { rank, world } = task.share;
    if world == 0 || rank >= world {
        Share::new(rank as i64, world as i64)?;
    }
    if task.force && world > 1 {
        return Err(Error::usage("one rank of several cannot replace what the others write")
            .hint(format!("remove {} and leave --force out", task.folder.display())));
    }
    if !task.force {
        refuse_conflict(task)?;
        if let Some(manifest) = complete(task)? {
            tidy_finished(task);
            return Ok(found(manifest));
        }
    }
    let Begun::Writing { own, said } = begin(task)? else { return Ok(found(task.finished()?)) };
    let failed = AtomicBool::new(false);
    let mut observe = |progress: &Progress| {
        // which error it was is told below
        if failed.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        observe(progress)
    };
    let encoded = std::thread::scope(|scope| {
        // the disk takes these while the first blocks are encoded
        let beside = spawn(scope, || {
            let result = write_beside(task);
            failed.store(result.is_err(), Ordering::Relaxed);
            result
        })?;
        let progress = match task.job.settings.dtype {
            Dtype::Uint16 => encode::<E, u16>(task, encoder, &mut observe),
            Dtype::Uint32 => encode::<E, u32>(task, encoder, &mut observe),
        };
        beside.join().map_err(|_| Error::data("a thread failed while it wrote; this is a fault of pylm"))??;
        progress
    });
    let progress = match encoded {
        Ok(progress) => progress,
        Err(error) => return finished_by_another(task, &own).map(found).map_err(|_| error),
    };
    task.input.check_unchanged()?;
    let (manifest, missing) = finish(task, &own)?;
    Ok(Outcome { manifest, found: false, progress, replaced: said, missing })
}

fn found(manifest: Manifest) -> Outcome {
    Outcome { manifest: Some(manifest), found: true, progress: Progress::default(), replaced: None, missing: 0 }
}

//! What a rank does before it cleans: locks, what lies in the folder already, and what is cleaned up.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::finish::{finished, MANIFEST};
use super::plan::{Job, AGAIN, JOB};
use super::task::Task;
use crate::clean::run::output::{is_output, REPORT, SHOWN, TAGS};
use crate::error::{Error, Result};
use crate::files::{read_json, remove, remove_parts, remove_temporaries, to_json, write_atomically, PARTS};
use crate::lock::Lock;
use crate::ranks::{alone, empty, refuse_busy, take_rank, Held};

pub(super) enum Begun {
    /// All of it is there.
    Finished(Value),
    /// This rank's lock, and how many files `--force` replaced.
    Working(Lock, usize),
}

/// Takes this rank's lock and sees to it that the folder holds this job's work and nothing else.
pub(super) fn begin(task: &Task<'_>) -> Result<Begun> {
    let parts = task.parts();
    loop {
        let own = take_rank(task.folder, task.share.rank)?;
        let _held = Held::wait(task.folder, &|| task.input.options.check())?;
        if !own.stands() {
            // another rank finished meanwhile, and the locks went with its parts
            continue;
        }
        let alone = alone(&parts, Some(&own));
        let mut replaced = 0;
        if task.force {
            if !alone {
                return Err(refuse_busy(task.folder));
            }
            replaced = clear(task.folder)?;
        }
        // looked at again under the lock: another rank may have begun something else meanwhile
        if let Err(error) = refuse_other(task.folder, task.job, task.force) {
            own.remove();
            let _ = std::fs::remove_dir(&parts);
            return Err(error);
        }
        if let Some(manifest) = finished(task.folder)? {
            if alone {
                // a run that was killed between its last two steps has left it, and what cannot be removed is in the way
                let _ = remove_parts(&parts);
                remove_temporaries(task.folder, ours);
            }
            return Ok(Begun::Finished(manifest));
        }
        if alone {
            remove_temporaries(task.folder, ours);
            remove_temporaries(&parts, |_| true);
        }
        if task.job.stands_in(task.folder) != Some(true) {
            if !alone {
                return Err(refuse_busy(task.folder));
            }
            // what was begun belongs to a job that is not there, or that came to nothing
            empty(&parts)?;
            write_atomically(&task.folder.join(JOB), &to_json(task.job))?;
        }
        // a manifest whose files are gone is none
        remove(&task.folder.join(MANIFEST))?;
        return Ok(Begun::Working(own, replaced));
    }
}

/// Fails where something lies in the folder that is not this job's; with `--force` where it is not cleaned text.
pub(super) fn refuse_other(folder: &Path, job: &Job, force: bool) -> Result<()> {
    let refused = |what: String, hint: &str| Err(Error::data(format!("{} holds {what}", folder.display())).hint(hint));
    let there: Option<Value> = read_json(&folder.join(JOB), AGAIN)?;
    if there.as_ref().is_some_and(|job| job.get("request").is_none()) {
        return refused("what another command wrote".into(), "choose another folder with --out");
    }
    if force {
        return Ok(());
    }
    let what = match Job::read(folder) {
        Err(_) => Some("text cleaned by another version of pylm".into()),
        Ok(Some(_)) if came_to_nothing(folder) => None,
        Ok(Some(other)) => job.difference(&other).map(|difference| format!("text cleaned {difference}")),
        // tags are replaced whole, with what somebody else keeps there
        Ok(None) => match outputs(folder).len() + entries(&folder.join(TAGS)).count() {
            0 => None,
            1 => Some("a file that no job of ours wrote".into()),
            count => Some(format!("{count} files that no job of ours wrote")),
        },
    };
    what.map_or(Ok(()), |what| refused(what, "choose another folder with --out, or replace these files with --force"))
}

/// Names without their last suffix that this writes.
fn ours(stem: &str) -> bool {
    let known = ["job", "manifest", "report", TAGS, PARTS].contains(&stem);
    known || is_output(stem) || is_output(&format!("{stem}.jsonl"))
}

/// Whether the job of a folder ended before anything of it was whole, as one does that a mistyped option or a broken
/// file stopped: there is nothing that another could damage.
fn came_to_nothing(folder: &Path) -> bool {
    let whole = |path: PathBuf| path.extension().is_some_and(|suffix| suffix == "json");
    outputs(folder).is_empty() && !folder.join(TAGS).exists() && !entries(&folder.join(PARTS)).any(whole)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Files of our names in a folder.
fn outputs(folder: &Path) -> Vec<PathBuf> {
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        is_output(name) || [MANIFEST, REPORT, SHOWN].contains(&name)
    };
    entries(folder).filter(ours).collect()
}

/// Removes what an earlier run wrote, the manifest first: without it the folder is not finished.
pub(super) fn clear(folder: &Path) -> Result<usize> {
    let files = outputs(folder);
    remove(&folder.join(MANIFEST))?;
    remove(&folder.join(JOB))?;
    files.iter().try_for_each(|file| remove(file))?;
    remove_parts(&folder.join(TAGS))?;
    empty(&folder.join(PARTS))?;
    Ok(files.len())
}

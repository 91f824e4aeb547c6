//! What a rank does before it encodes: locks, what lies in the folder already, and what is cleaned up.

use std::path::{Path, PathBuf};

use super::manifest::{Manifest, Shard, MANIFEST};
use super::plan::{Job, AGAIN, JOB};
use super::record::{is_shard_file, Names, Record};
use super::task::Task;
use crate::error::{Error, Result};
use crate::files::{
    read_json, remove, remove_parts, remove_temporaries, sync_file, temporaries, to_json, write_atomically,
    write_lightly, PARTS,
};
use crate::lock::Lock;
use crate::ranks::{alone, empty, refuse_busy, take_rank, Held, HELD};

impl Task<'_> {
    pub(super) fn parts(&self) -> PathBuf {
        self.folder.join(PARTS)
    }

    pub(super) fn finished(&self) -> Result<Manifest> {
        Manifest::read(self.folder)?.ok_or_else(|| Error::data(format!("{MANIFEST} is gone")))
    }

    /// See [`Held::wait`].
    pub(super) fn hold(&self) -> Result<Held> {
        Held::wait(self.folder, &|| self.input.options.check())
    }
}

pub(super) enum Begun {
    /// Another process has just finished.
    Finished,
    Writing {
        /// This rank's lock.
        own: Lock,
        /// What `--force` replaced.
        said: Option<String>,
    },
}

/// Takes this rank's lock and sees to it that the folder holds this job's work and nothing else.
pub(super) fn begin(task: &Task<'_>) -> Result<Begun> {
    let parts = task.parts();
    loop {
        let own = take_rank(task.folder, task.share.rank)?;
        let _held = task.hold()?;
        if !own.stands() {
            // another rank finished meanwhile, and the locks went with its parts
            continue;
        }
        let alone = alone(&parts, Some(&own));
        let mut said = None;
        if task.force {
            if !alone {
                return Err(refuse_busy(task.folder));
            }
            said = clear(task.folder)?;
        } else {
            // looked at again under the lock: another process may just have begun or finished
            if let Err(error) = refuse_conflict(task) {
                own.remove();
                let _ = std::fs::remove_dir(&parts);
                return Err(error);
            }
            if complete(task)?.is_some() {
                if alone {
                    tidy(task, &parts);
                }
                return Ok(Begun::Finished);
            }
        }
        if alone {
            remove_temporaries(task.folder, ours_beside);
            remove_temporaries(&parts, |_| true);
        }
        write_job(task)?;
        return Ok(Begun::Writing { own, said });
    }
}

/// Names without their suffix that this writes beside the shards.
pub(super) fn ours_beside(stem: &str) -> bool {
    stem == PARTS
        || stem == "job"
        || stem == "manifest"
        || stem.starts_with("tokenizer")
        || stem.starts_with("special_tokens")
}

/// Removes what is left of writing a folder that is finished.
fn tidy(task: &Task<'_>, parts: &Path) {
    // what cannot be removed is only in the way
    let _ = remove_parts(parts);
    remove_temporaries(task.folder, ours_beside);
}

/// The same where nobody else does it or writes: a run that was killed between its last two steps has left it.
pub(super) fn tidy_finished(task: &Task<'_>) {
    let parts = task.parts();
    let left = parts.exists() || task.folder.join(HELD).exists();
    if !left && temporaries(task.folder, ours_beside).is_empty() {
        return;
    }
    let Ok(Some(_held)) = Held::take(task.folder) else { return };
    if alone(&parts, None) && matches!(complete(task), Ok(Some(_))) {
        tidy(task, &parts);
    }
}

/// What another rank finished while this one still wrote: with a limit, later shards are not needed for that.
pub(super) fn finished_by_another(task: &Task<'_>, own: &Lock) -> Result<Manifest> {
    let absent = || Error::data("nobody has finished it");
    if own.stands() {
        return Err(absent());
    }
    let _held = task.hold()?;
    let manifest = complete(task)?.ok_or_else(absent)?;
    remove_strays(task, &manifest)?;
    Ok(manifest)
}

/// Removes shards of this job behind its limit that were moved to their places after another rank had finished.
pub(super) fn remove_strays(task: &Task<'_>, manifest: &Manifest) -> Result<()> {
    for shard in 0..task.job.shards.len() {
        let names = Names { folder: task.folder, shard };
        for path in [names.final_ids(), names.final_index()] {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let known = |shard: &Shard| shard.file == name || shard.index_file() == name;
            if !manifest.splits.train.shards.iter().any(known) {
                remove(&path)?;
            }
        }
    }
    Ok(())
}

/// Fails where something lies in the folder that is not this job's.
pub(super) fn refuse_conflict(task: &Task<'_>) -> Result<()> {
    let what = match Job::read(task.folder) {
        Err(error) if !torn_job(task.folder)? => return Err(error),
        Ok(Some(job)) => task.job.difference(&job).map(|difference| format!("shards made {difference}")),
        Ok(None) | Err(_) => {
            let strangers = shard_files(task.folder)?;
            (!strangers.is_empty()).then(|| format!("{} that no job of ours wrote", count(strangers.len())))
        }
    };
    what.map_or(Ok(()), |what| {
        Err(Error::data(format!("{} holds {what}", task.folder.display()))
            .hint("choose another folder with --out, or replace these files with --force"))
    })
}

/// Whether the job is there and cannot be read as one, and no shard is complete: a power loss took it in the first
/// seconds, and nothing but these is lost with it.
fn torn_job(folder: &Path) -> Result<bool> {
    if Job::read(folder).is_ok() || std::fs::read(folder.join(JOB)).is_err() || !shard_files(folder)?.is_empty() {
        return Ok(false);
    }
    let parts = std::fs::read_dir(folder.join(PARTS)).into_iter().flatten().flatten();
    let complete = |path: PathBuf| matches!(read_json::<Record>(&path, AGAIN), Ok(Some(Record { complete: true, .. })));
    Ok(!parts.map(|entry| entry.path()).any(complete))
}

fn count(files: usize) -> String {
    if files == 1 {
        "a shard file".into()
    } else {
        format!("{files} shard files")
    }
}

/// Names of our making in a folder, sorted.
fn shard_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", folder, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io("read", folder, &error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if is_shard_file(&name) || name == MANIFEST {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Removes what an earlier run wrote, the manifest first: without it the folder is not finished.
fn clear(folder: &Path) -> Result<Option<String>> {
    let files = shard_files(folder)?;
    let job = folder.join(JOB);
    let had_job = job.exists();
    remove(&folder.join(MANIFEST))?;
    remove(&job)?;
    for file in &files {
        remove(file)?;
    }
    empty(&folder.join(PARTS))?;
    Ok((had_job || !files.is_empty()).then(|| format!("{} of an earlier run", count(files.len()))))
}

/// The manifest, where the job is finished and all its files have their size.
pub(super) fn complete(task: &Task<'_>) -> Result<Option<Manifest>> {
    let Some(manifest) = Manifest::read(task.folder)? else { return Ok(None) };
    let whole = Job::read(task.folder)?.is_some() && manifest.sizes_hold(task.folder);
    Ok(whole.then_some(manifest))
}

/// Writes the job where it is not there yet.
fn write_job(task: &Task<'_>) -> Result<()> {
    if !matches!(Job::read(task.folder), Ok(Some(_))) {
        // what was begun belongs to a job that is not there
        empty(&task.parts())?;
        write_atomically(&task.folder.join(JOB), &to_json(task.job))?;
    }
    // a manifest whose files are gone is none
    remove(&task.folder.join(MANIFEST))
}

/// Writes what belongs beside the shards where it is not there yet. Another rank may have written it and not waited
/// for the disk yet.
pub(super) fn write_beside(task: &Task<'_>) -> Result<()> {
    for (name, bytes) in (task.files)()? {
        let path = task.folder.join(name);
        if std::fs::read(&path).ok().as_ref() != Some(&bytes) {
            write_lightly(&path, &bytes)?;
        }
        sync_file(&path)?;
    }
    Ok(())
}

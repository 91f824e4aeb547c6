//! Files that are either whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::error::{write_error, Error, Result};

/// Where unfinished work lies in an output folder.
pub(crate) const PARTS: &str = ".parts";

/// Writes a temporary file beside `path`, syncs it and renames it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, &[bytes], File::sync_all)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// The same without waiting for the disk: for what costs time and nothing else where it is lost or torn.
pub(crate) fn write_lightly(path: &Path, bytes: &[u8]) -> Result<()> {
    write_parts_lightly(path, &[bytes])
}

/// The same of parts that follow one another, for what is too large to be put together first.
pub(crate) fn write_parts_lightly(path: &Path, parts: &[impl AsRef<[u8]>]) -> Result<()> {
    replace(path, parts, |_| Ok(()))
}

fn replace(path: &Path, parts: &[impl AsRef<[u8]>], sync: impl FnOnce(&File) -> std::io::Result<()>) -> Result<()> {
    let temporary = path.with_extension(format!("{TEMPORARY}{}", crate::unique::suffix()));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        parts.iter().try_for_each(|part| file.write_all(part.as_ref()))?;
        sync(&file)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        write_error("write", path, &error)
    })
}

/// How the suffix of a file begins that is to be renamed.
const TEMPORARY: &str = "tmp";

/// What writers that were killed left in a folder, of those whose name without its suffix is ours.
pub(crate) fn temporaries(folder: &Path, stem_is_ours: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let suffix = path.extension().and_then(|suffix| suffix.to_str()?.strip_prefix(TEMPORARY));
        suffix.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|digit| digit.is_ascii_hexdigit()))
            && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(&stem_is_ours)
    };
    paths.filter(ours).collect()
}

/// Removes these: only where no other writer is alive.
pub(crate) fn remove_temporaries(folder: &Path, stem_is_ours: impl Fn(&str) -> bool) {
    for path in temporaries(folder, stem_is_ours) {
        // what cannot be removed is only in the way
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

/// Removes the unfinished work of a folder at once: another rank may still be writing there.
pub(crate) fn remove_parts(parts: &Path) -> Result<()> {
    let gone = parts.with_extension(format!("{TEMPORARY}{}", crate::unique::suffix()));
    match fs::rename(parts, &gone).and_then(|()| remove_whole(&gone)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(write_error("remove", parts, &error)),
        _ => Ok(()),
    }
}

/// Removes a folder that has a name nobody else knows. A rank that was about to make its lock when the folder got that name
/// makes it there, once its files are listed: then it is not empty, and is looked through again.
fn remove_whole(gone: &Path) -> std::io::Result<()> {
    for _ in 0..100 {
        match fs::remove_dir_all(gone) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            done => return done,
        }
    }
    fs::remove_dir_all(gone)
}

/// Makes a folder and those above it that are missing, whose names are then there after a power loss too.
pub(crate) fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(write_error("make", folder, &error))
        }
        _ => {
            // one that may be written and not read cannot be synced
            let _ = sync_folder(parent.unwrap_or(Path::new(".")));
            Ok(())
        }
    }
}

/// A path as the system knows it, however it is spelled; of what is not there yet as much as there is.
#[cfg(feature = "python")]
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.canonicalize().unwrap_or_else(|_| match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolved(parent).join(name),
        _ => path.into(),
    })
}

pub(crate) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| write_error("sync", path, &error))
}

pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| write_error("sync", folder, &error))
}

pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// None where there is no such file. `hint` says what mends one that is damaged.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, hint: &str) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, &error)),
    };
    let damaged = |error| Error::data(format!("{} is damaged: {error}", path.display())).hint(hint);
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(write_error("remove", path, &error)),
        _ => Ok(()),
    }
}

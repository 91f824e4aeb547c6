//! Files that are either whole or not there, and locks that die with their process.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::error::{Error, Result};

/// Where unfinished work lies in an output folder.
pub(super) const PARTS: &str = ".parts";

/// What can go wrong while writing; a full disk says how to go on.
pub(super) fn write_error(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    let said = Error::io(doing, path, error);
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            said.hint("what is complete stays; make room and run the same command again to finish the rest")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            said.hint("choose a folder that may be written to, with --out")
        }
        _ => said,
    }
}

/// Writes a temporary file beside `path`, syncs it and renames it.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        write_error("write", path, &error)
    })?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// The same without waiting for the disk: for records whose loss costs time and nothing else.
pub(super) fn write_lightly(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        write_error("write", path, &error)
    })
}

pub(super) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| write_error("sync", path, &error))
}

pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| write_error("sync", folder, &error))
}

pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// Whether a name is one that a shard or its index would have.
pub(super) fn is_shard_file(name: &str) -> bool {
    let split = name.starts_with("train_") || name.starts_with("val_");
    split && Path::new(name).extension().is_some_and(|suffix| suffix == "bin" || suffix == "idx")
}

/// None where there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, &error)),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        Error::data(format!("{} is damaged: {error}", path.display()))
            .hint("tokenize again with --force, which replaces the folder's shards")
    })
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(write_error("remove", path, &error)),
        _ => Ok(()),
    }
}

/// An exclusive lock on a file, given up when the value is dropped or the process dies, however it dies.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// None where another process holds it and `wait` is false.
    pub fn take(path: &Path, wait: bool) -> Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(|error| write_error("lock", path, &error))?;
        let operation = libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB };
        loop {
            // SAFETY: the descriptor is open for as long as `file` lives.
            if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
                return Ok(Some(Self { file, path: path.into() }));
            }
            let error = std::io::Error::last_os_error();
            match error.kind() {
                ErrorKind::WouldBlock => return Ok(None),
                ErrorKind::Interrupted => {}
                _ => return Err(write_error("lock", path, &error)),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open for as long as `file` lives.
        unsafe { libc::flock(self.file.as_raw_fd(), libc::LOCK_UN) };
    }
}

//! Locks that die with their process.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{write_error, Result};

/// An exclusive lock on a file, given up when the value is dropped or the process dies, however it dies.
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// None where another process holds it and `wait` is false.
    pub fn take(path: &Path, wait: bool) -> Result<Option<Self>> {
        let operation = libc::LOCK_EX | if wait { 0 } else { libc::LOCK_NB };
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)
                .map_err(|error| write_error("lock", path, &error))?;
            // SAFETY: the descriptor is open for as long as `file` lives.
            if unsafe { libc::flock(file.as_raw_fd(), operation) } == 0 {
                let lock = Self { file, path: path.into() };
                // who held it may have removed the file meanwhile, and another locks the next one of that name
                if lock.stands() {
                    return Ok(Some(lock));
                }
                continue;
            }
            let error = std::io::Error::last_os_error();
            match error.kind() {
                ErrorKind::WouldBlock => return Ok(None),
                ErrorKind::Interrupted => {}
                _ => return Err(write_error("lock", path, &error)),
            }
        }
    }

    /// Whether the file that is locked still has its name, so that others meet this lock.
    pub fn stands(&self) -> bool {
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let named = fs::metadata(&self.path).map(place);
        self.file.metadata().map(place).is_ok_and(|ours| named.is_ok_and(|named| named == ours))
    }

    /// Gives it up and removes its file.
    pub fn remove(self) {
        // while it is held: whoever waits for it then looks whether it still stands
        let _ = fs::remove_file(&self.path);
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

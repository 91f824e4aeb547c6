//! Several processes that write one folder together: which part is whose, who is alive, who begins and finishes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::files::{make_folder, remove, PARTS};
use crate::lock::Lock;

/// Which pieces of the work are this process's: every `world`-th from `rank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub rank: usize,
    pub world: usize,
}

impl Share {
    pub fn new(rank: i64, world: i64) -> Result<Self> {
        match (usize::try_from(rank), usize::try_from(world)) {
            (Ok(rank), Ok(world)) if rank < world => Ok(Self { rank, world }),
            _ => Err(Error::usage(format!("there is no rank {rank} in a world of {world}"))
                .hint("ranks count from 0 to world - 1")),
        }
    }
}

/// Lies beside what is written while a rank begins or finishes: outside of what finishing removes.
pub(crate) const HELD: &str = ".writing.lock";

/// The folder is held, and its lock's file goes with this.
pub(crate) struct Held(Option<Lock>);

impl Held {
    /// The lock under which ranks begin and finish. It waits, and hears of Ctrl-C.
    pub fn wait(folder: &Path, check: &dyn Fn() -> Result<()>) -> Result<Self> {
        loop {
            if let Some(held) = Self::take(folder)? {
                return Ok(held);
            }
            check()?;
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// None where another process holds it.
    pub fn take(folder: &Path) -> Result<Option<Self>> {
        Ok(Lock::take(&folder.join(HELD), false)?.map(|lock| Self(Some(lock))))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Lock::remove);
    }
}

/// Takes a rank's own lock among the parts of a folder, which are made where they are missing.
pub(crate) fn take_rank(folder: &Path, rank: usize) -> Result<Lock> {
    let parts = folder.join(PARTS);
    let mut looks = 0;
    loop {
        make_folder(&parts)?;
        match Lock::take(&parts.join(format!("rank_{rank}.lock")), false) {
            Ok(Some(lock)) => return Ok(lock),
            // another rank may only be looking whether this one is alive: see `alone`
            Ok(None) if looks < 10 => {
                looks += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(None) => {
                let folder = folder.display();
                return Err(Error::data(format!("another process is writing rank {rank} of {folder}"))
                    .hint("wait for it to end, or choose another folder with --out"));
            }
            // another rank has just finished, and removed its parts
            Err(_) if folder.is_dir() && !parts.exists() => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether no rank but this one has a writer that is alive. Asked while the folder is held: who comes later writes
/// nothing before it holds the folder too.
pub(crate) fn alone(parts: &Path, own: Option<&Lock>) -> bool {
    entries(parts)
        .filter(|path| is_lock(path) && own.is_none_or(|own| own.path() != path))
        .all(|path| matches!(Lock::take(&path, false), Ok(Some(_))))
}

/// Removes all that was begun, but for the locks.
pub(crate) fn empty(parts: &Path) -> Result<()> {
    entries(parts).filter(|path| !is_lock(path)).try_for_each(|path| remove(&path))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "lock")
}

/// What `--force` cannot do while others write.
pub(crate) fn refuse_busy(folder: &Path) -> Error {
    Error::data(format!("other processes are writing to {}", folder.display()))
        .hint("wait for them to end, or choose another folder with --out")
}

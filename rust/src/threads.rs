//! Threads, of which the system may have no more to give.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};

/// Starts a thread of a scope, or says that there is none to be had.
pub(crate) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new().spawn_scoped(scope, work).map_err(|error| {
        let reason = error.to_string();
        let reason = reason.split(" (os error").next().unwrap_or(&reason);
        Error::data(format!("the system starts no more threads: {reason}"))
            .hint("use fewer of them, such as --threads 1, or allow more processes (ulimit -u)")
    })
}

/// How often whoever waits for the threads looks up.
const LOOK: Duration = Duration::from_millis(200);

/// Runs `work` on threads numbered from 0, and `watch` on this one five times a second, until all have ended. The first
/// failure, be it of `watch`, is the one that is told; after each `stop` makes the others end. `doing` is what a thread
/// did that panicked.
pub(crate) fn watched(
    threads: usize,
    doing: &str,
    work: &(dyn Fn(usize) -> Result<()> + Sync),
    stop: &(dyn Fn() + Sync),
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let crew = Crew { working: Mutex::new(threads), left: Condvar::new(), failure: Mutex::default(), doing, stop };
    std::thread::scope(|scope| {
        for worker in 0..threads {
            let crew = &crew;
            let begun = spawn(scope, move || {
                let _leaving = Leaving(crew);
                if let Err(error) = work(worker) {
                    crew.fail(error);
                }
            });
            if let Err(error) = begun {
                *lock(&crew.working) -= threads - worker;
                crew.fail(error);
                break;
            }
        }
        let mut working = lock(&crew.working);
        while *working > 0 {
            let (guard, waited) = crew.left.wait_timeout(working, LOOK).unwrap_or_else(PoisonError::into_inner);
            working = guard;
            if waited.timed_out() {
                drop(working);
                if let Err(error) = watch() {
                    crew.fail(error);
                }
                working = lock(&crew.working);
            }
        }
    });
    let failure = lock(&crew.failure).take();
    failure.map_or(Ok(()), Err)
}

struct Crew<'a> {
    working: Mutex<usize>,
    left: Condvar,
    failure: Mutex<Option<Error>>,
    doing: &'a str,
    stop: &'a (dyn Fn() + Sync),
}

impl Crew<'_> {
    fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
        (self.stop)();
    }
}

/// Counts a thread down also where it panics, so that nobody waits for it for ever.
struct Leaving<'a>(&'a Crew<'a>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(Error::data(format!("a thread failed while {}; this is a fault of pylm", self.0.doing)));
        }
        *lock(&self.0.working) -= 1;
        self.0.left.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Threads, of which the system may have no more to give.

use std::thread::{Builder, Scope, ScopedJoinHandle};

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

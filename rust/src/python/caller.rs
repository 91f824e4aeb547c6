//! Exceptions of Python's that arise while Rust works: they pass through as themselves.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::error::{Error, Result};
use crate::input::Check;

/// Calls into Python from work without the interpreter's lock, and keeps the first exception that comes of it: of a
/// callback, or of a signal's handler.
#[derive(Clone, Default)]
pub(super) struct Caller {
    raised: Arc<Mutex<Option<PyErr>>>,
}

impl Caller {
    /// Calls Python. What it raises is kept, and the work is told to stop.
    pub fn call<T>(&self, function: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
        Python::attach(function).map_err(|error| self.keep(error))
    }

    /// Lets Ctrl-C and other signals be heard.
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the method itself lives too short for `attach`")]
    pub fn signals(&self) -> Result<()> {
        self.call(|py| py.check_signals())
    }

    /// For work that looks through sources alone.
    pub fn check(&self) -> Check {
        let caller = self.clone();
        Arc::new(move || caller.signals())
    }

    pub fn keep(&self, error: PyErr) -> Error {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        Error::interrupted()
    }

    /// What the work came to, or the exception that ended it.
    pub fn settle<T>(self, result: Result<T>) -> PyResult<T> {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner).take();
        match raised {
            Some(error) => Err(error),
            None => Ok(result?),
        }
    }
}

//! The Python face of this crate: the only room that names pyo3.

mod bpe;
mod clean;
mod documents;
mod gather;
mod metrics;
mod options;
mod shards;
mod sources;
mod train;

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Error, Kind, Result};
use crate::input::Check;

/// The crate's errors become those of `pylm.errors`, message and hint kept apart.
impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| {
            let name = match error.kind {
                Kind::Usage => "UsageError",
                Kind::Data => "DataError",
                Kind::Tokenizer => "TokenizerError",
                Kind::Interrupted => return PyKeyboardInterrupt::new_err(()),
            };
            let made = py
                .import("pylm.errors")
                .and_then(|errors| errors.getattr(name))
                .and_then(|class| class.call1((error.message, error.hint)));
            match made {
                Ok(value) => PyErr::from_value(value),
                Err(error) => error,
            }
        })
    }
}

/// Calls into Python from work without the interpreter's lock, and keeps the first exception that comes of it: of a
/// callback, or of a signal's handler. It passes through as itself.
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

/// How this module was built: version, profile and target.
#[pyfunction]
fn build_info(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let info = PyDict::new(py);
    info.set_item("version", crate::VERSION)?;
    info.set_item("profile", crate::PROFILE)?;
    info.set_item("target", format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))?;
    Ok(info)
}

#[pymodule]
fn _rust(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(build_info, module)?)?;
    module.add_class::<bpe::Bpe>()?;
    module.add_function(wrap_pyfunction!(bpe::portable_pattern, module)?)?;
    module.add_function(wrap_pyfunction!(train::train_bpe, module)?)?;
    module.add_class::<documents::Documents>()?;
    shards::register(module)?;
    gather::register(module)?;
    clean::register(module)?;
    metrics::register(module)?;
    Ok(())
}

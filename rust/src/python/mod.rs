//! The Python face of this crate: the only room that names pyo3.

mod caller;
mod documents;
mod pipeline;
mod tokenizer;
mod train;

use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Error, Kind};

/// The crate's errors become those of `pylm.errors`, message and hint kept apart.
impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| {
            let name = match error.kind {
                Kind::Usage => "UsageError",
                Kind::Data => "DataError",
                Kind::Tokenizer => "TokenizerError",
                Kind::Check => "CheckError",
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

/// A number of threads as a caller gives it: 0 for as many as there are cores.
fn thread_count(given: i64) -> crate::Result<usize> {
    match usize::try_from(given) {
        Ok(0) => Ok(std::thread::available_parallelism().map_or(1, usize::from)),
        Ok(threads) => Ok(threads),
        Err(_) => Err(Error::usage(format!("{given} threads cannot work")).hint("0 is as many as there are cores")),
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
    module.add_class::<tokenizer::Bpe>()?;
    module.add_function(wrap_pyfunction!(tokenizer::portable_pattern, module)?)?;
    module.add_function(wrap_pyfunction!(train::train_bpe, module)?)?;
    module.add_class::<documents::Documents>()?;
    pipeline::register(module)?;
    Ok(())
}

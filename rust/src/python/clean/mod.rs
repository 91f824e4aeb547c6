//! Cleaning, for Python.

mod contamination;
mod duplicates;
mod language;
mod private;
mod repair;
mod rules;

use pyo3::prelude::*;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    contamination::register(module)?;
    duplicates::register(module)?;
    language::register(module)?;
    private::register(module)?;
    repair::register(module)?;
    rules::register(module)
}

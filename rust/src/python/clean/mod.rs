//! Cleaning, for Python.

mod address;
mod contamination;
mod duplicates;
mod language;
mod private;
mod repair;
mod rules;
mod run;

use pyo3::prelude::*;

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    address::register(module)?;
    contamination::register(module)?;
    duplicates::register(module)?;
    language::register(module)?;
    private::register(module)?;
    repair::register(module)?;
    rules::register(module)?;
    run::register(module)
}

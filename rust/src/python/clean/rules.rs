use pyo3::prelude::*;

use crate::clean::words;

/// The words of `text` as the rules count them.
#[pyfunction]
fn words_of(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    words::cut(text, &mut out);
    out
}

/// How many sentences `text` has, one where it has none.
#[pyfunction]
fn sentences_of(text: &str) -> usize {
    words::sentences(text)
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(words_of, module)?)?;
    module.add_function(wrap_pyfunction!(sentences_of, module)?)
}

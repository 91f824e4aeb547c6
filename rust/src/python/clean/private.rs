//! Addresses in a text, and the text without them.

use pyo3::prelude::*;

use crate::clean::private;

/// Where mail and public IPv4 addresses stand: (first code point, the one after the last, "mail" or "ip").
#[pyfunction]
fn private_spans(text: &str) -> Vec<(u64, u64, &'static str)> {
    let mut found = Vec::new();
    private::find(text, &mut found);
    private::in_code_points(text, &found).into_iter().map(|(start, end, kind)| (start, end, kind.name())).collect()
}

/// The text with a placeholder for each of them.
#[pyfunction]
fn mask_private(text: &str) -> String {
    let (mut found, mut out) = (Vec::new(), String::new());
    private::find(text, &mut found);
    private::mask(text, &found, &mut out);
    out
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(private_spans, module)?)?;
    module.add_function(wrap_pyfunction!(mask_private, module)?)
}

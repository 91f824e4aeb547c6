//! `pylm._rust.repair`: a text with its characters mended, and what was mended.

use std::collections::BTreeMap;

use pyo3::prelude::*;

use crate::clean::repair::{self, Repairs};

/// A text mended by the repairs that are on, and the count of each.
#[pyfunction(name = "repair")]
#[pyo3(signature = (text, *, mojibake=true, controls=true, invisible=true, whitespace=true, nfc=true, wide_blanks=false))]
#[expect(clippy::fn_params_excessive_bools, reason = "keywords, for Python")]
fn mend(
    text: &str,
    mojibake: bool,
    controls: bool,
    invisible: bool,
    whitespace: bool,
    nfc: bool,
    wide_blanks: bool,
) -> (String, BTreeMap<&'static str, u64>) {
    let mut out = String::new();
    let repairs = Repairs { mojibake, controls, invisible, whitespace, nfc, wide_blanks };
    let counts = repair::repair(text, &repairs, &mut out);
    (out, counts.named().into())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(mend, module)?)
}

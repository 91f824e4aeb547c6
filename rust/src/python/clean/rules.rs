use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::clean::rules::{keys, settings, Measures, Rules, Scratch, Settings, NAMES};
use crate::clean::words;
use crate::error::Error;

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

/// The settings of the rules of that name, as JSON.
#[pyfunction]
fn rules_preset(name: &str) -> PyResult<String> {
    Ok(written(&settings::preset(name)?))
}

/// The settings with `key` set to `value`, which is JSON, and its family asked for.
#[pyfunction]
fn rules_set(settings: &str, key: &str, value: &str) -> PyResult<String> {
    let mut settings = Settings::from_json(settings)?;
    let value = serde_json::from_str(value)
        .map_err(|_| Error::usage(format!("the value of {key} is no JSON: {value}")).hint("off is written null"))?;
    settings.set(key, value)?;
    Ok(written(&settings))
}

/// The settings with every key of their families said.
#[pyfunction]
fn rules_full(settings: &str) -> PyResult<String> {
    Ok(written(&Settings::from_json(settings)?.full()))
}

fn written(settings: &Settings) -> String {
    serde_json::to_string(settings).expect("settings are names and values")
}

/// The names of the measures, in their order.
#[pyfunction]
fn rules_measures() -> Vec<&'static str> {
    NAMES.to_vec()
}

/// What is known of every key.
#[pyfunction]
fn rules_keys(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let described = |key: &keys::Key| {
        let known = PyDict::new(py);
        known.set_item("key", key.key)?;
        known.set_item("reason", key.reason)?;
        known.set_item("family", key.family)?;
        known.set_item("measure", key.measure)?;
        known.set_item("comparison", key.comparison.sign())?;
        known.set_item("rethresholds", key.rethresholds)?;
        Ok(known)
    };
    crate::clean::rules::keys().iter().map(described).collect()
}

/// Rules by their settings, which are JSON.
#[pyclass(name = "CleaningRules", unsendable, module = "pylm._rust")]
struct PyRules {
    rules: Rules,
    scratch: Scratch,
}

#[pymethods]
impl PyRules {
    #[new]
    fn new(settings: &str) -> PyResult<Self> {
        Ok(Self { rules: Rules::new(&Settings::from_json(settings)?)?, scratch: Scratch::default() })
    }

    /// The measures of `text` in the order of `rules_measures`, NaN where it was not measured, and the text as C4's
    /// lines rewrite it, None where they do not change it.
    #[pyo3(signature = (text, language="eng_Latn"))]
    fn measure(&mut self, text: &str, language: &str) -> (Vec<f64>, Option<String>) {
        let mut out = Measures::default();
        let rewritten = self.rules.measure(text, language, &mut self.scratch, &mut out);
        (out.values().to_vec(), rewritten)
    }

    /// Reason, key, measure and threshold of the first rule that fails.
    #[pyo3(signature = (measures, language="eng_Latn"))]
    #[allow(clippy::large_types_passed_by_value)] // an argument from Python is a value
    fn decide(&self, measures: [f64; NAMES.len()], language: &str) -> Option<(&str, &str, f64, f64)> {
        let decision = self.rules.decide(language, &Measures::from_values(measures))?;
        Some((decision.reason, decision.key, decision.measure, decision.threshold))
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(words_of, module)?)?;
    module.add_function(wrap_pyfunction!(sentences_of, module)?)?;
    module.add_function(wrap_pyfunction!(rules_preset, module)?)?;
    module.add_function(wrap_pyfunction!(rules_set, module)?)?;
    module.add_function(wrap_pyfunction!(rules_full, module)?)?;
    module.add_function(wrap_pyfunction!(rules_measures, module)?)?;
    module.add_function(wrap_pyfunction!(rules_keys, module)?)?;
    module.add_class::<PyRules>()
}

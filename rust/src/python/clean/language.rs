//! Languages and fastText's classifiers, for Python.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::clean::language::{self, Classifier, Identifier, Language, Scratch, NAMES};
use crate::error::Error;

/// Names the language of texts, with a model's file or with what is built in.
#[pyclass(frozen, module = "pylm._rust")]
struct LanguageIdentifier {
    identifier: Identifier,
}

#[pymethods]
impl LanguageIdentifier {
    #[new]
    #[pyo3(signature = (path = None))]
    fn new(path: Option<PathBuf>) -> PyResult<Self> {
        let identifier = path.map_or(Ok(Identifier::BuiltIn), |path| Identifier::open(&path))?;
        Ok(Self { identifier })
    }

    /// The language of each text and how sure that is.
    fn identify(&self, py: Python<'_>, texts: Vec<String>) -> Vec<(String, f32)> {
        py.detach(|| {
            let mut scratch = Scratch::default();
            texts
                .iter()
                .map(|text| self.identifier.identify(text, &mut scratch))
                .map(|(language, sure)| (language.to_string(), sure))
                .collect()
        })
    }
}

/// A classifier that fastText trained.
#[pyclass(frozen, module = "pylm._rust")]
struct FastText {
    model: language::FastText,
}

#[pymethods]
impl FastText {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        Ok(Self { model: language::FastText::open(&path)? })
    }

    #[getter]
    fn labels(&self) -> Vec<String> {
        self.model.labels().to_vec()
    }

    /// The `k` best labels of each text and their probabilities, best first.
    #[pyo3(signature = (texts, k = 1))]
    fn predict(&self, py: Python<'_>, texts: Vec<String>, k: i64) -> PyResult<Vec<Vec<(String, f32)>>> {
        let k = usize::try_from(k).ok().filter(|k| *k > 0);
        let k = k.ok_or_else(|| Error::usage("k is the number of labels: 1 or more"))?;
        Ok(py.detach(|| {
            let mut scratch = Scratch::default();
            let mut named = |text: &String| {
                let found = self.model.predict(text, k, &mut scratch);
                found.map(|(label, sure)| (self.model.labels()[label].clone(), sure)).collect()
            };
            texts.iter().map(&mut named).collect()
        }))
    }
}

/// What `FILE:LABEL>=X` says of each text: the probability of the label, and whether the text is kept.
#[pyfunction]
fn classify(py: Python<'_>, told: &str, texts: Vec<String>) -> PyResult<Vec<(f32, bool)>> {
    let classifier = Classifier::parse(told)?;
    Ok(py.detach(|| {
        let mut scratch = Scratch::default();
        let measures = texts.iter().map(|text| classifier.measure(text, &mut scratch));
        measures.map(|probability| (probability, classifier.keeps(probability))).collect()
    }))
}

/// The file that `FILE:LABEL>=X` names.
#[pyfunction]
fn classifier_file(told: &str) -> PyResult<&str> {
    Ok(language::file_of(told)?)
}

/// Code, label of fastText's own models and English name of each language that has a name.
#[pyfunction]
fn language_names() -> Vec<(String, &'static str, &'static str)> {
    NAMES.iter().map(|name| (name.code.to_string(), name.label, name.english)).collect()
}

/// The codes of the languages that the built-in identifier names.
#[pyfunction]
fn known_languages() -> Vec<String> {
    language::builtin::known().iter().map(ToString::to_string).collect()
}

/// The code of a classifier's label: `__label__en` or `eng_Latn`; the text tells the script where the label does not.
#[pyfunction]
#[pyo3(signature = (label, text = ""))]
fn language_of(label: &str, text: &str) -> String {
    Language::of(label, text).to_string()
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LanguageIdentifier>()?;
    module.add_class::<FastText>()?;
    module.add_function(wrap_pyfunction!(classify, module)?)?;
    module.add_function(wrap_pyfunction!(classifier_file, module)?)?;
    module.add_function(wrap_pyfunction!(known_languages, module)?)?;
    module.add_function(wrap_pyfunction!(language_names, module)?)?;
    module.add_function(wrap_pyfunction!(language_of, module)?)
}

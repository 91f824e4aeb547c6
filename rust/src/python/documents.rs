//! `pylm._rust.Documents`: the documents of sources, one after another, for work that Python does with text itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString, PyTuple};
use serde_json::json;

use super::shards::to_python;
use super::sources::sources as given;
use super::{options, Caller};
use crate::error::Error;
use crate::input::{Batch, Documents as Reader, Input, Options, Position};

/// Iterates over lists of (text, id, meta), about a megabyte at a time, in the order of the sources.
#[pyclass(frozen, module = "pylm._rust")]
pub struct Documents {
    reader: Reader,
    caller: Caller,
    state: Mutex<State>,
}

/// What is known of the last batch, and of all so far.
#[derive(Default)]
struct State {
    source: String,
    position: Position,
    extra: Vec<Option<i64>>,
    replaced: u64,
    nulls: u64,
}

#[pymethods]
impl Documents {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
    #[pyo3(signature = (sources, *, split=None, field="text", column="text", invalid="error", skip_bad=false,
                        meta=false, extra=None, start=None, stdin=None, stdin_jsonl=false))]
    fn new(
        py: Python<'_>,
        sources: Vec<Bound<'_, PyAny>>,
        split: Option<&str>,
        field: &str,
        column: &str,
        invalid: &str,
        skip_bad: bool,
        meta: bool,
        extra: Option<String>,
        start: Option<Bound<'_, PyAny>>,
        stdin: Option<String>,
        stdin_jsonl: bool,
    ) -> PyResult<Self> {
        let caller = Caller::default();
        let sources = given(sources, &caller)?;
        let position = start.map_or(Ok(Position::default()), |start| position(&start))?;
        let options = Options {
            separator: options::separator(split)?,
            field: field.into(),
            column: column.into(),
            invalid: options::invalid(invalid)?,
            skip_bad,
            meta,
            extra,
            may_end: true,
            stdin: stdin.map(Into::into),
            stdin_jsonl,
            check: Some(caller.check()),
            ..Options::default()
        };
        let reader = py.detach(|| Reader::new(&Input::of(&sources, options)?, position));
        let reader = caller.clone().settle(reader)?;
        Ok(Self { reader, caller, state: Mutex::new(State { position, ..State::default() }) })
    }

    /// Bytes that were no UTF-8 and became U+FFFD, so far.
    #[getter]
    fn replaced(&self) -> u64 {
        self.state().replaced
    }

    /// Documents that are null and were left out, so far.
    #[getter]
    fn nulls(&self) -> u64 {
        self.state().nulls
    }

    /// The file that the last batch came from.
    #[getter]
    fn source(&self) -> String {
        self.state().source.clone()
    }

    /// Where reading goes on after the last batch, for `start`.
    #[getter]
    fn position<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let position = self.state().position;
        to_python(py, &json!(position))
    }

    /// The number asked for as `extra`, of each document of the last batch.
    #[getter]
    fn extra(&self) -> Vec<Option<i64>> {
        self.state().extra.clone()
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        py.check_signals()?;
        let next = py.detach(|| self.reader.next());
        let Some(Batch { source, block, after }) = self.caller.clone().settle(next)? else { return Ok(None) };
        let documents = PyList::empty(py);
        let mut notes = block.notes.iter();
        for text in block.documents() {
            let text = PyString::from_bytes(py, text)?;
            let note = notes.next();
            let id = note.and_then(|note| note.id.as_deref());
            let meta = note.and_then(|note| note.meta.as_deref());
            documents.append(PyTuple::new(
                py,
                [Some(text), id.map(|id| PyString::new(py, id)), meta.map(|meta| PyString::new(py, meta))],
            )?)?;
        }
        let mut state = self.state();
        state.extra = block.notes.iter().map(|note| note.extra).collect();
        (state.source, state.position) = (source, after);
        state.replaced += block.replaced;
        state.nulls += block.nulls;
        Ok(Some(documents))
    }
}

impl Documents {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A position as it was returned, perhaps by way of a file.
fn position(object: &Bound<'_, PyAny>) -> PyResult<Position> {
    let text: String = object.py().import("json")?.call_method1("dumps", (object,))?.extract()?;
    serde_json::from_str(&text)
        .map_err(|error| Error::usage(format!("{text} is no position of documents: {error}")).into())
}

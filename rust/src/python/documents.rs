//! `pylm._rust.Documents`: the documents of sources, one after another, for work that Python does with text itself.

use std::ffi::OsString;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use pyo3::prelude::*;

use super::{options, Caller};
use crate::error::Result;
use crate::input::{plan_units, Block, Event, Feed, Input, Options, Validation};

/// Source text that is planned at a time; nothing depends on it but the length of a list.
const UNIT: u64 = 64 << 20;

/// Iterates over (source, [document, …]), about a megabyte at a time, in the order of the sources.
#[pyclass(frozen, module = "pylm._rust")]
pub struct Documents {
    feed: Feed,
    input: Input,
    #[pyo3(get)]
    bytes: u64,
    replaced: AtomicU64,
}

#[pymethods]
impl Documents {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
    #[pyo3(signature = (sources, *, split=None, field="text", column="text", invalid="error", skip_bad=false, stdin=None, stdin_jsonl=false))]
    fn new(
        py: Python<'_>,
        sources: Vec<OsString>,
        split: Option<&str>,
        field: &str,
        column: &str,
        invalid: &str,
        skip_bad: bool,
        stdin: Option<String>,
        stdin_jsonl: bool,
    ) -> PyResult<Self> {
        let caller = Caller::default();
        let options = Options {
            separator: options::separator(split)?,
            field: field.into(),
            column: column.into(),
            invalid: options::invalid(invalid)?,
            skip_bad,
            stdin: stdin.map(Into::into),
            stdin_jsonl,
            check: Some(caller.check()),
            ..Options::default()
        };
        let planned = py.detach(|| {
            let input = Input::resolve(&sources, options)?;
            let units = Arc::new(plan_units(&input, UNIT, Validation::None, None)?);
            Ok((input, units))
        });
        let (input, units) = caller.settle(planned)?;
        let bytes = units.iter().map(|unit| unit.bytes).sum();
        let lanes = vec![(0, 0..units.len())];
        let feed = Feed::new(&input, units, lanes, Validation::None);
        Ok(Self { feed, input, bytes, replaced: 0.into() })
    }

    /// Bytes that were no UTF-8 and became U+FFFD, so far.
    #[getter]
    fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(String, Vec<String>)>> {
        py.check_signals()?;
        Ok(py.detach(|| self.next())?)
    }
}

impl Documents {
    fn next(&self) -> Result<Option<(String, Vec<String>)>> {
        while let Some(ticket) = self.feed.next(0)? {
            let Event::Block(raw) = ticket.event else { continue };
            let file = &self.input.files[raw.file()];
            let block = Block::new(raw, file, &self.input.options, Validation::None)?;
            self.replaced.fetch_add(block.replaced, Ordering::Relaxed);
            let documents = block.documents().map(|text| String::from_utf8_lossy(text).into_owned()).collect();
            return Ok(Some((file.name.clone(), documents)));
        }
        Ok(None)
    }
}

//! `pylm._rust.AddressFilter`: which pages are left out by their address.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::clean::address::{Filter, Lists};

#[pyclass(frozen, module = "pylm._rust")]
pub struct AddressFilter {
    filter: Filter,
}

#[pymethods]
impl AddressFilter {
    #[new]
    #[pyo3(signature = (lists, *, soft_words=2))]
    fn new(lists: Vec<PathBuf>, soft_words: usize) -> PyResult<Self> {
        let mut read = Lists::default();
        lists.iter().try_for_each(|path| read.read(path))?;
        Ok(Self { filter: Filter::new(read, soft_words)? })
    }

    /// Why a page of this address is left out, None where it stays.
    fn refuses(&self, url: &str) -> Option<&'static str> {
        self.filter.refuses(url)
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<AddressFilter>()
}

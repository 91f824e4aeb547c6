//! Duplicates of texts that Python holds, and the steps of finding them, for those who look closely.

use std::path::PathBuf;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;

use super::super::{options, Caller};
use crate::clean::duplicates::fineweb::{self, FineWeb, Hash};
use crate::clean::duplicates::given::{sketched_sets, sketched_texts, Held, SketchFile};
use crate::clean::duplicates::{clusters, Clusters, Means, Near, Place, Settings, Sketched, Sketcher};
use crate::clean::words::Cut;
use crate::error::Error;

/// Bytes, where nothing is said.
const MEMORY: usize = 1 << 30;

/// Where files go and how much is used, as Python says it.
struct Given {
    threads: usize,
    memory: usize,
    scratch: PathBuf,
}

impl Given {
    fn new(threads: i64, memory: Option<usize>, scratch: Option<PathBuf>) -> PyResult<Self> {
        let threads = options::thread_count(threads)?;
        Ok(Self { threads, memory: memory.unwrap_or(MEMORY), scratch: scratch.unwrap_or_else(std::env::temp_dir) })
    }

    fn means<'a>(&'a self, check: &'a (dyn Fn() -> Result<(), Error> + Sync)) -> Means<'a> {
        Means { memory: self.memory, scratch: &self.scratch, threads: self.threads, check }
    }
}

fn settings(near: &str, shingle: Option<usize>, hash: &str) -> PyResult<Settings> {
    Ok(Settings { hash: Hash::parse(hash)?, ..Settings::new(near, shingle)? })
}

fn cut(characters: bool) -> Cut {
    if characters {
        Cut::Characters
    } else {
        Cut::Spaced
    }
}

fn to_python(py: Python<'_>, found: Clusters) -> PyResult<Bound<'_, PyDict>> {
    let answer = PyDict::new(py);
    answer.set_item("exact", PyArray1::from_vec(py, found.exact))?;
    answer.set_item("near", PyArray1::from_vec(py, found.near))?;
    answer.set_item("compared", found.compared)?;
    answer.set_item("left", found.left)?;
    Ok(answer)
}

/// Clusters of texts.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
#[pyo3(signature = (texts, *, near="0.8", shingle=None, characters=false, hash="xxh64", threads=0, memory=None,
                    scratch=None))]
fn near_duplicates<'py>(
    py: Python<'py>,
    texts: Vec<PyBackedStr>,
    near: &str,
    shingle: Option<usize>,
    characters: bool,
    hash: &str,
    threads: i64,
    memory: Option<usize>,
    scratch: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let (settings, given, caller) = (settings(near, shingle, hash)?, Given::new(threads, memory, scratch)?, Caller::default());
    let found = py.detach(|| {
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let check = || caller.signals();
        let held = sketched_texts(&texts, cut(characters), &settings, given.threads)?;
        clusters(&held, Place::Texts(&texts.as_slice()), &settings, &|_| true, &given.means(&check))
    });
    to_python(py, caller.settle(found)?)
}

/// Clusters of documents that are sets of hashes, one after another in `hashes`, the n-th from `starts[n]` on.
#[pyfunction]
#[pyo3(signature = (hashes, starts, *, near=0.8, threads=0, memory=None, scratch=None))]
fn near_duplicate_sets<'py>(
    py: Python<'py>,
    hashes: PyReadonlyArray1<'py, u64>,
    starts: PyReadonlyArray1<'py, u64>,
    near: f64,
    threads: i64,
    memory: Option<usize>,
    scratch: Option<PathBuf>,
) -> PyResult<Bound<'py, PyDict>> {
    let settings = Settings { near: Near::parse(&near.to_string())?, ..Settings::default() };
    let (given, caller) = (Given::new(threads, memory, scratch)?, Caller::default());
    let (hashes, starts) = (hashes.as_slice()?, starts.as_slice()?);
    let is_whole = starts.is_sorted() && starts.last().is_none_or(|end| *end == hashes.len() as u64);
    if !is_whole {
        return Err(Error::usage("starts do not go up to the number of hashes").into());
    }
    let found = py.detach(|| {
        let sets: Vec<&[u64]> =
            starts.windows(2).map(|ends| &hashes[ends[0] as usize..ends[1] as usize]).collect();
        let check = || caller.signals();
        let held = sketched_sets(&sets, near, given.threads)?;
        clusters(&held, Place::Sets(&sets.as_slice()), &settings, &|_| true, &given.means(&check))
    });
    to_python(py, caller.settle(found)?)
}

/// Clusters of what a file holds of each document: sixteen bytes of hash and FineWeb's sketch.
#[pyfunction]
#[pyo3(signature = (path, *, threads=0, memory=None, scratch=None))]
fn cluster_sketches(
    py: Python<'_>,
    path: PathBuf,
    threads: i64,
    memory: Option<usize>,
    scratch: Option<PathBuf>,
) -> PyResult<Bound<'_, PyDict>> {
    let (given, caller) = (Given::new(threads, memory, scratch)?, Caller::default());
    let settings = Settings { near: Near::FineWeb, ..Settings::default() };
    let found = py.detach(|| {
        let check = || caller.signals();
        let file = SketchFile::open(&path, Sketcher::new(&settings).sketch_bytes())?;
        let nothing: &[&str] = &[];
        clusters(&file, Place::Texts(&nothing), &settings, &|_| true, &given.means(&check))
    });
    to_python(py, caller.settle(found)?)
}

//! Duplicates of texts that Python holds, and the steps of finding them, for those who look closely.

use std::path::PathBuf;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyDict;

use super::super::{options, Caller};
use crate::clean::duplicates::fineweb::{self, FineWeb, Hash};
use crate::clean::duplicates::given::{sketched_sets, sketched_texts, SketchFile};
use crate::clean::duplicates::repeats::{self, without, Finder, Kind, Parts};
use crate::clean::duplicates::{
    clusters, rehydrated, sizes, survivors, Clusters, Means, Near, Place, SetSketcher, Settings, Sketcher, ALONE,
};
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
    let (settings, given, caller) =
        (settings(near, shingle, hash)?, Given::new(threads, memory, scratch)?, Caller::default());
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
        let sets: Vec<&[u64]> = starts.windows(2).map(|ends| &hashes[ends[0] as usize..ends[1] as usize]).collect();
        let check = || caller.signals();
        let held = sketched_sets(&sets, near, given.threads)?;
        clusters(&held, Place::Sets(&sets.as_slice()), &settings, &|_| true, &given.means(&check))
    });
    to_python(py, caller.settle(found)?)
}

/// Clusters of what a file holds of each document: sixteen bytes of hash and `FineWeb`'s sketch.
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

/// Texts without the lines, paragraphs or spans that `least` of them have, but for the first.
#[pyfunction]
#[pyo3(signature = (texts, part, least, *, threads=0, memory=None, scratch=None))]
fn without_repeats(
    py: Python<'_>,
    texts: Vec<PyBackedStr>,
    part: &str,
    least: usize,
    threads: i64,
    memory: Option<usize>,
    scratch: Option<PathBuf>,
) -> PyResult<Vec<String>> {
    let (kind, given) = (Kind::parse(part)?, Given::new(threads, memory, scratch)?);
    Ok(py.detach(|| {
        let mut finder = Finder::new(given.memory, given.threads, &given.scratch);
        let mut parts = Parts::new(kind);
        for (document, text) in (0..).zip(&texts) {
            finder.add(document, parts.of(text))?;
        }
        let (repeats, mut places) = (finder.finish(least)?, Vec::new());
        let kept = (0..).zip(&texts).map(|(document, text)| {
            repeats.of(document, &mut places);
            if places.is_empty() {
                text.to_string()
            } else {
                without(text, kind, &places)
            }
        });
        Ok::<_, Error>(kept.collect())
    })?)
}

/// Where each sentence of a text begins and ends, in characters.
#[pyfunction]
fn sentence_spans(text: &str) -> Vec<(usize, usize)> {
    let characters = |range: &str| range.chars().count();
    let mut spans = Vec::new();
    let (mut at, mut count) = (0, 0);
    for piece in repeats::sentences_of(text) {
        let start = count + characters(&text[at..piece.start]);
        (at, count) = (piece.end, start + characters(&text[piece]));
        spans.push((start, count));
    }
    spans
}

/// Which documents go: all of a cluster that pass but the one of the greatest value, or the first.
#[pyfunction]
#[pyo3(signature = (clusters, passes, values=None))]
fn removed_duplicates<'py>(
    py: Python<'py>,
    clusters: PyReadonlyArray1<'py, u32>,
    passes: PyReadonlyArray1<'py, bool>,
    values: Option<PyReadonlyArray1<'py, f64>>,
) -> PyResult<Bound<'py, PyArray1<bool>>> {
    let (clusters, passes) = (clusters.as_slice()?, passes.as_slice()?);
    let values = values.as_ref().map(PyReadonlyArray1::as_slice).transpose()?;
    let is_of_all = passes.len() == clusters.len() && values.is_none_or(|values| values.len() == clusters.len());
    if !is_of_all || !are_of_them(clusters) {
        return Err(Error::usage("clusters, passes and values are not of the same documents").into());
    }
    let value = |document: u32| values.map_or(0.0, |values| values[document as usize]);
    let removed = survivors(clusters, &|document| passes[document as usize], &value);
    Ok(PyArray1::from_vec(py, removed))
}

/// How many documents each document's cluster has, and how often one that stands for it is written to rehydrate.
#[pyfunction]
fn cluster_sizes<'py>(py: Python<'py>, clusters: PyReadonlyArray1<'py, u32>) -> PyResult<Sizes<'py>> {
    let clusters = clusters.as_slice()?;
    if !are_of_them(clusters) {
        return Err(Error::usage("clusters name documents that are not there").into());
    }
    let sizes = sizes(clusters);
    let times = sizes.iter().map(|size| rehydrated(*size)).collect();
    Ok((PyArray1::from_vec(py, sizes), PyArray1::from_vec(py, times)))
}

type Sizes<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u32>>);

fn are_of_them(clusters: &[u32]) -> bool {
    clusters.iter().all(|cluster| *cluster == ALONE || (*cluster as usize) < clusters.len())
}

/// `FineWeb`'s 112 numbers of a text; None where it has fewer than five words.
#[pyfunction]
#[pyo3(signature = (text, hash="xxh64"))]
fn fineweb_signature(text: &str, hash: &str) -> PyResult<Option<Vec<u64>>> {
    Ok(FineWeb::new(Hash::parse(hash)?, None).signature(text).map(<[u64]>::to_vec))
}

/// The factors and summands of `FineWeb`'s functions.
#[pyfunction]
fn fineweb_parameters() -> (Vec<u64>, Vec<u64>) {
    let (factors, summands) = fineweb::parameters();
    (factors.to_vec(), summands.to_vec())
}

/// What `FineWeb`'s words are cut from.
#[pyfunction]
fn fineweb_simplified(text: &str) -> String {
    let (mut spaced, mut simple) = (String::new(), String::new());
    fineweb::simplify(text, &mut spaced, &mut simple);
    simple
}

/// The hash of a text by which copies are known.
#[pyfunction]
fn exact_hash(text: &str) -> u128 {
    Sketcher::new(&Settings { near: Near::Off, ..Settings::default() }).exact(text)
}

/// The bands and rows of sketches for a threshold.
#[pyfunction]
fn sketch_shape(near: f64) -> PyResult<(usize, usize)> {
    Near::parse(&near.to_string())?;
    Ok(SetSketcher::new(near).shape())
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(near_duplicates, module)?)?;
    module.add_function(wrap_pyfunction!(near_duplicate_sets, module)?)?;
    module.add_function(wrap_pyfunction!(cluster_sketches, module)?)?;
    module.add_function(wrap_pyfunction!(without_repeats, module)?)?;
    module.add_function(wrap_pyfunction!(sentence_spans, module)?)?;
    module.add_function(wrap_pyfunction!(removed_duplicates, module)?)?;
    module.add_function(wrap_pyfunction!(cluster_sizes, module)?)?;
    module.add_function(wrap_pyfunction!(fineweb_signature, module)?)?;
    module.add_function(wrap_pyfunction!(fineweb_parameters, module)?)?;
    module.add_function(wrap_pyfunction!(fineweb_simplified, module)?)?;
    module.add_function(wrap_pyfunction!(exact_hash, module)?)?;
    module.add_function(wrap_pyfunction!(sketch_shape, module)?)
}

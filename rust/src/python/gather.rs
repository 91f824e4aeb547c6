//! `pylm._rust.gather_documents` and what goes with it: shards made of shards.

use std::path::PathBuf;
use std::time::Instant;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use serde_json::{json, Value};

use super::shards::to_python;
use super::Caller;
use crate::error::{Error, Result};
use crate::input::Side;
use crate::shard::{gather, hash_documents as hashes, seal, Origin, Target, Tokens};

/// Path, bytes before the ids, how they are stored, and how many there are.
type File = (PathBuf, u64, String, u64);
type Numbers<'py> = PyReadonlyArray1<'py, u64>;

fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T> {
    serde_json::from_value(Value::from(name)).map_err(|error| Error::usage(error.to_string()))
}

fn opened(files: Vec<File>) -> Result<Tokens> {
    let origin = |(path, base, dtype, tokens): File| Ok(Origin { path, base, dtype: named(&dtype)?, tokens });
    Tokens::open(files.into_iter().map(origin).collect::<Result<_>>()?)
}

fn pairs(starts: &Numbers<'_>, lengths: &Numbers<'_>) -> Vec<(u64, u64)> {
    starts.as_array().iter().copied().zip(lengths.as_array().iter().copied()).collect()
}

/// Lets Ctrl-C be heard and tells of progress, five times a second.
fn watch(caller: &Caller, progress: Option<Py<PyAny>>) -> impl FnMut(u64) -> Result<()> + '_ {
    let mut told = Instant::now();
    move |done| {
        if told.elapsed().as_millis() < 200 {
            return Ok(());
        }
        told = Instant::now();
        caller.call(|py| {
            py.check_signals()?;
            progress.as_ref().map_or(Ok(()), |progress| progress.bind(py).call1((done,)).map(drop))
        })
    }
}

/// A hash of each document's ids, the same in either width. `files` are (path, bytes before the ids, dtype, tokens),
/// one after another; `progress` is called with the tokens done.
#[pyfunction]
#[pyo3(signature = (files, starts, lengths, progress=None))]
pub fn hash_documents<'py>(
    py: Python<'py>,
    files: Vec<File>,
    starts: Numbers<'py>,
    lengths: Numbers<'py>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let (caller, documents) = (Caller::default(), pairs(&starts, &lengths));
    let made = {
        let mut check = watch(&caller, progress);
        py.detach(|| hashes(&opened(files)?, &documents, &mut check))
    };
    Ok(PyArray1::from_vec(py, caller.clone().settle(made)?))
}

/// Writes documents, in their order, as shards of a split; returns these and the bytes that their ids stand for.
#[pyfunction]
#[pyo3(signature = (files, starts, lengths, folder, *, split, dtype, header, shard_tokens, byte_lengths=None,
                    progress=None))]
#[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
pub fn gather_documents<'py>(
    py: Python<'py>,
    files: Vec<File>,
    starts: Numbers<'py>,
    lengths: Numbers<'py>,
    folder: PathBuf,
    split: &str,
    dtype: &str,
    header: &str,
    shard_tokens: u64,
    byte_lengths: Option<PyReadonlyArray1<'py, u32>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (caller, documents) = (Caller::default(), pairs(&starts, &lengths));
    let of_ids = byte_lengths.map(|lengths| lengths.as_array().to_vec()).unwrap_or_default();
    let side = if split == "val" { Side::Validation } else { Side::Train };
    let (dtype, header) = (named(dtype)?, named(header)?);
    let target = Target { folder: &folder, side, dtype, header, shard_tokens, lengths: &of_ids };
    let made = {
        let mut check = watch(&caller, progress);
        py.detach(|| gather(&opened(files)?, &documents, &target, &mut check))
    };
    let (shards, text_bytes) = caller.clone().settle(made)?;
    to_python(py, &json!({"shards": shards, "text_bytes": text_bytes}))
}

/// Writes the manifest of a folder whose shards are there, sealed, and returns it.
#[pyfunction]
pub fn seal_shards<'py>(py: Python<'py>, folder: PathBuf, manifest: &str) -> PyResult<Bound<'py, PyAny>> {
    let manifest: Value = serde_json::from_str(manifest).map_err(|error| Error::usage(error.to_string()))?;
    let made = py.detach(|| seal(&folder, manifest))?;
    to_python(py, &json!(made))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(hash_documents, module)?)?;
    module.add_function(wrap_pyfunction!(gather_documents, module)?)?;
    module.add_function(wrap_pyfunction!(seal_shards, module)?)?;
    Ok(())
}

//! `pylm._rust.tokenize` and what looks into its shards.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use numpy::PyReadonlyArray1;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use serde_json::{json, Value};

use super::bpe::Bpe;
use super::sources::sources as given;
use super::{options, Caller};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::input::{look, Input, Options, Separator, Source};
use crate::shard::{
    changed, run, sample, verify, BpeEncoder, Files, Job, Lengths, Limit, Progress, Reader, Request, Share, Task,
    TextEncoder,
};

/// A tokenizer of Python's in the pipeline: called with the documents of a block, gives the ids of each.
struct Foreign {
    caller: Caller,
    encode_batch: Py<PyAny>,
    vocab_size: u32,
}

type Waiting = VecDeque<Vec<u32>>;

impl Foreign {
    fn call(&self, py: Python<'_>, documents: &[&[u8]]) -> PyResult<Waiting> {
        let texts = PyList::empty(py);
        for document in documents {
            // checked when it was read
            texts.append(PyString::new(py, &String::from_utf8_lossy(document)))?;
        }
        let results = self.encode_batch.bind(py).call1((texts,))?;
        let mut waiting = Waiting::with_capacity(documents.len());
        for result in results.try_iter()? {
            waiting.push_back(ids(&result?)?);
        }
        Ok(waiting)
    }
}

fn ids(object: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    if let Ok(array) = object.extract::<PyReadonlyArray1<'_, u32>>() {
        return Ok(array.as_array().to_vec());
    }
    if let Ok(array) = object.extract::<PyReadonlyArray1<'_, u16>>() {
        return Ok(array.as_array().iter().map(|&id| u32::from(id)).collect());
    }
    object.extract::<Vec<u32>>()
}

/// What a library that encodes complains of, as an error of ours. What pylm raised, and what is no `Exception`, such
/// as Ctrl-C, passes through as itself.
fn of_library(py: Python<'_>, error: PyErr) -> PyErr {
    let ours = py.import("pylm.errors").and_then(|errors| errors.getattr("PylmError"));
    let known = ours.is_ok_and(|class| error.is_instance(py, &class));
    if known || !error.is_instance_of::<PyException>(py) {
        return error;
    }
    let made = PyErr::from(Error::tokenizer(format!("the tokenizer failed: {error}")));
    made.set_cause(py, Some(error));
    made
}

impl TextEncoder for Foreign {
    type Scratch = Waiting;

    fn scratch(&self) -> Waiting {
        Waiting::new()
    }

    fn prepare(&self, documents: &[&[u8]], scratch: &mut Waiting) -> Result<()> {
        let made = self.caller.call(|py| self.call(py, documents).map_err(|error| of_library(py, error)))?;
        if made.len() != documents.len() {
            let (made, asked) = (made.len(), documents.len());
            return Err(Error::tokenizer(format!("the tokenizer gave {made} results for {asked} documents")));
        }
        if let Some(id) = made.iter().flatten().find(|&&id| id >= self.vocab_size) {
            return Err(Error::tokenizer(format!("the tokenizer gave id {id}, its vocabulary is {}", self.vocab_size))
                .hint("its vocab_size is wrong, or its files do not belong together"));
        }
        *scratch = made;
        Ok(())
    }

    fn encode<T: Id>(&self, _text: &[u8], scratch: &mut Waiting, out: &mut Vec<T>) -> Result<()> {
        let ids = scratch.pop_front().ok_or_else(|| Error::tokenizer("the tokenizer gave too few results"))?;
        out.extend(ids.into_iter().map(T::from_u32));
        Ok(())
    }
}

/// A value as Python's own objects.
pub(super) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}

/// What a function of Python's returns: contents of files by name.
fn files_of(function: &Py<PyAny>, caller: &Caller) -> Result<Vec<(String, Vec<u8>)>> {
    let call = |py: Python<'_>| -> PyResult<Vec<(String, Vec<u8>)>> {
        let files = function.bind(py).call0()?;
        let one = |(name, bytes): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            Ok((name.extract()?, bytes.cast::<PyBytes>()?.as_bytes().to_vec()))
        };
        files.cast::<PyDict>()?.iter().map(one).collect()
    };
    caller.call(call)
}

/// Writes shards of `sources` into `folder`, or says what that would take.
///
/// `encoder` is a `Bpe`, or a callable that takes a list of `str` and returns the ids of each. `request` holds what
/// decides the bytes, as in job.json; `files` returns by name what is written beside the shards. `progress` is called
/// with a dictionary.
#[pyfunction]
#[pyo3(signature = (sources, folder, encoder, request, *, threads=0, rank=0, world=1, force=false, dry_run=false,
                    stdin=None, stdin_jsonl=false, files=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
pub fn tokenize<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    folder: PathBuf,
    encoder: &Bound<'py, PyAny>,
    request: &str,
    threads: i64,
    rank: i64,
    world: i64,
    force: bool,
    dry_run: bool,
    stdin: Option<PathBuf>,
    stdin_jsonl: bool,
    files: Option<Py<PyAny>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let request: Request =
        serde_json::from_str(request).map_err(|error| Error::usage(format!("the request is wrong: {error}")))?;
    let caller = Caller::default();
    let sources = given(sources, &caller)?;
    let threads = options::thread_count(threads)?;
    let share = Share::new(rank, world)?;
    let work = Work {
        caller: &caller,
        sources: &sources,
        folder: &folder,
        request,
        threads,
        share,
        force,
        dry_run,
        stdin,
        stdin_jsonl,
        files,
        progress,
    };
    let made = if let Ok(bpe) = encoder.cast::<Bpe>() {
        let encoder = BpeEncoder::new(bpe.get().encoder.clone(), &work.request.allow_special);
        py.detach(|| work.run(&encoder))
    } else {
        let vocab_size = work.request.vocab_size;
        let encoder = Foreign { caller: caller.clone(), encode_batch: encoder.clone().unbind(), vocab_size };
        py.detach(|| work.run(&encoder))
    };
    to_python(py, &caller.clone().settle(made)?)
}

/// What [`tokenize`] was asked.
struct Work<'a> {
    caller: &'a Caller,
    sources: &'a [Source],
    folder: &'a Path,
    request: Request,
    threads: usize,
    share: Share,
    force: bool,
    dry_run: bool,
    stdin: Option<PathBuf>,
    stdin_jsonl: bool,
    files: Option<Py<PyAny>>,
    progress: Option<Py<PyAny>>,
}

impl Work<'_> {
    fn run(self, encoder: &impl TextEncoder) -> Result<Value> {
        let Self { caller, request, .. } = self;
        let options = Options {
            separator: Separator::parse(&request.split)?,
            field: request.field.clone(),
            column: request.column.clone(),
            invalid: request.invalid,
            skip_bad: request.skip_bad,
            safe_cut: encoder.safe_cut(),
            stdin: self.stdin,
            stdin_jsonl: self.stdin_jsonl,
            may_end: request.limit.is_some(),
            check: Some(caller.check()),
            ..Options::default()
        };
        let input = Input::of(self.sources, options)?;
        let seen = sample(&input, encoder)?;
        let job = Job::plan(&input, request, seen.bytes_per_token)?;
        let mut result = plan_to_json(&job, seen.bytes_per_second * self.threads as f64);
        result["repeated"] = json!(*input.repeated);
        if !self.dry_run {
            let files: &Files<'_> = &|| self.files.as_ref().map_or(Ok(Vec::new()), |files| files_of(files, caller));
            let (folder, threads, share, force) = (self.folder, self.threads, self.share, self.force);
            let task = Task { job: &job, input: &input, folder, threads, share, force, files };
            let outcome =
                run(&task, encoder, &mut |now| observe(caller, self.progress.as_ref(), &progress_to_json(now)))?;
            result["found"] = json!(outcome.found);
            result["replaced"] = json!(outcome.replaced);
            result["missing"] = json!(outcome.missing);
            result["manifest"] = json!(outcome.manifest);
            result["progress"] = progress_to_json(&outcome.progress);
        }
        Ok(result)
    }
}

fn plan_to_json(job: &Job, bytes_per_second: f64) -> Value {
    let bytes = job.bytes();
    let tokens = bytes as f64 / job.bytes_per_token;
    json!({
        "files": job.sources.len(),
        "source_bytes": job.sources.iter().map(|file| file.size).sum::<u64>(),
        "bytes": bytes,
        "units": job.units.len(),
        "shards": job.shards.len(),
        "compressed": job.sources.iter().filter(|file| !file.is_plain()).count(),
        "dtype": job.settings.dtype,
        "rule": job.settings.rule,
        "bytes_per_token": job.bytes_per_token,
        "tokens": tokens as u64,
        "disk": (tokens * job.settings.dtype.size() as f64) as u64,
        "seconds": bytes as f64 / bytes_per_second,
    })
}

fn progress_to_json(now: &Progress) -> Value {
    json!({
        "seconds": now.seconds,
        "bytes": now.bytes,
        "total_bytes": now.total_bytes,
        "done_before": now.done_before,
        "tokens": now.tokens,
        "documents": now.documents,
        "units": now.units,
    })
}

/// Lets Python look for Ctrl-C, and tells it how far the work is.
pub(super) fn observe(caller: &Caller, progress: Option<&Py<PyAny>>, now: &Value) -> Result<()> {
    caller.call(|py| {
        py.check_signals()?;
        if let Some(progress) = progress {
            progress.bind(py).call1((to_python(py, now)?,))?;
        }
        Ok(())
    })
}

/// The manifest of a finished folder.
#[pyfunction]
pub fn shards_manifest(py: Python<'_>, folder: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let reader = py.detach(|| Reader::open(&folder))?;
    to_python(py, &json!(reader.manifest))
}

/// What job.json says of how the folder's tokenizer was made; None where nothing does.
#[pyfunction]
pub fn shards_training(py: Python<'_>, folder: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let job = py.detach(|| Job::read(&folder))?;
    to_python(py, &json!(job.and_then(|job| job.settings.request.training)))
}

/// Document `number` of a split: where it is, how long, and its first `most` ids.
#[pyfunction]
pub fn shards_document(
    py: Python<'_>,
    folder: PathBuf,
    split: String,
    number: u64,
    most: u64,
) -> PyResult<Bound<'_, PyAny>> {
    let found = py.detach(|| Reader::open(&folder)?.document(&split, number, most))?;
    let value = json!({"file": found.file, "start": found.start, "tokens": found.tokens, "ids": found.ids});
    to_python(py, &value)
}

/// Lengths of documents and counts of ids of a split.
#[pyfunction]
pub fn shards_statistics(py: Python<'_>, folder: PathBuf, split: String) -> PyResult<Bound<'_, PyAny>> {
    let caller = Caller::default();
    let found = py.detach(|| Reader::open(&folder)?.statistics(&split, &mut || caller.signals()));
    let found = caller.settle(found)?;
    let value = json!({
        "documents": found.documents,
        "shortest": found.shortest,
        "median": found.median,
        "ninetieth": found.ninetieth,
        "longest": found.longest,
        "counts": found.counts,
    });
    to_python(py, &value)
}

/// What of a folder is not as it was written, by the hashes in its manifest: the manifest, and one file beside it.
#[pyfunction]
pub fn shards_changed(py: Python<'_>, folder: PathBuf, name: &str) -> PyResult<Option<String>> {
    Ok(py.detach(|| changed(&folder, name))?)
}

/// Checks every byte of a folder's shards. `progress` is called with bytes done and bytes in all. `bpe` is the
/// tokenizer that wrote them, whose tokens tell how much text there was.
#[pyfunction]
#[pyo3(signature = (folder, progress=None, bpe=None))]
pub fn shards_verify<'py>(
    py: Python<'py>,
    folder: PathBuf,
    progress: Option<Py<PyAny>>,
    bpe: Option<PyRef<'py, Bpe>>,
) -> PyResult<Bound<'py, PyAny>> {
    let mut lengths = Lengths::default();
    if let Some(bpe) = bpe {
        let vocab = &bpe.encoder.vocab;
        // an id without a token stands for no text, and none of them is in shards
        lengths.of_ids =
            (0..vocab.size() as u32).map(|id| vocab.token(id).map_or(0, |token| token.len() as u32)).collect();
    }
    let caller = Caller::default();
    let mut told = std::time::Instant::now();
    let mut check = |done: u64, total: u64| -> Result<()> {
        if told.elapsed().as_millis() < 200 {
            return Ok(());
        }
        told = std::time::Instant::now();
        caller.call(|py| {
            py.check_signals()?;
            progress.as_ref().map_or(Ok(()), |progress| progress.bind(py).call1((done, total)).map(drop))
        })
    };
    let verified = py.detach(|| verify(&folder, &lengths, &mut check));
    to_python(py, &json!(caller.settle(verified)?))
}

/// How many files the sources are, about how many bytes of text (compressed ones count three times), and sentences on
/// what may surprise of them. What is no text is refused.
#[pyfunction]
#[pyo3(signature = (sources, stdin=None, stdin_jsonl=false))]
pub fn look_at_sources(
    py: Python<'_>,
    sources: Vec<Bound<'_, PyAny>>,
    stdin: Option<PathBuf>,
    stdin_jsonl: bool,
) -> PyResult<(usize, u64, Vec<String>)> {
    let caller = Caller::default();
    let sources = given(sources, &caller)?;
    let options = Options { stdin, stdin_jsonl, check: Some(caller.check()), ..Options::default() };
    let seen = caller.settle(py.detach(|| look(&sources, &options)))?;
    Ok((seen.files, seen.bytes, seen.remarks))
}

/// `{"documents": 10000}` and so on of `10000docs`, `1GB`, `100Mtok`.
#[pyfunction]
pub fn parse_limit<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    to_python(py, &json!(Limit::parse(text)?))
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(tokenize, module)?)?;
    module.add_function(wrap_pyfunction!(shards_manifest, module)?)?;
    module.add_function(wrap_pyfunction!(shards_training, module)?)?;
    module.add_function(wrap_pyfunction!(shards_document, module)?)?;
    module.add_function(wrap_pyfunction!(shards_statistics, module)?)?;
    module.add_function(wrap_pyfunction!(shards_verify, module)?)?;
    module.add_function(wrap_pyfunction!(shards_changed, module)?)?;
    module.add_function(wrap_pyfunction!(parse_limit, module)?)?;
    module.add_function(wrap_pyfunction!(look_at_sources, module)?)?;
    Ok(())
}

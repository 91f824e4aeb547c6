//! `pylm._rust.clean`.

use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use serde_json::{json, Value};

use super::super::shards::{observe, to_python};
use super::super::sources::sources as given;
use super::super::{options, Caller};
use crate::clean::contamination::Item;
use crate::clean::rules::Settings;
use crate::clean::run::{job_of, run, Again, Job, Progress, Request, Task};
use crate::error::{Error, Result};
use crate::files::resolved;
use crate::input::{Input, Options, Separator, Source};
use crate::ranks::Share;

/// Cleans `sources` into `folder`, or says what that would take.
///
/// `request` holds what decides the bytes, as in job.json; `items` are task, id, question and answer of test items. `show`
/// is called with the folder once its report.json is there, and may write beside it; `progress` is called with a
/// dictionary.
#[pyfunction]
#[pyo3(signature = (sources, folder, request, *, items=Vec::new(), threads=0, memory=2 << 30, rank=0, world=1, force=false,
                    dry_run=false, stdin=None, stdin_jsonl=false, show=None, progress=None))]
#[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
fn clean<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    folder: PathBuf,
    request: &str,
    items: Vec<(String, String, String, String)>,
    threads: i64,
    memory: usize,
    rank: i64,
    world: i64,
    force: bool,
    dry_run: bool,
    stdin: Option<PathBuf>,
    stdin_jsonl: bool,
    show: Option<Py<PyAny>>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let request: Request =
        serde_json::from_str(request).map_err(|error| Error::usage(format!("the request is wrong: {error}")))?;
    let caller = Caller::default();
    let sources = given(sources, &caller)?;
    let (threads, share) = (options::thread_count(threads)?, Share::new(rank, world)?);
    let work = Work { caller: &caller, sources: &sources, folder: &folder, request, stdin, stdin_jsonl };
    let made = py.detach(|| {
        let (input, job) = work.plan()?;
        let mut result = json!({
            "files": job.sources.len(),
            "bytes": job.units.iter().map(|unit| unit.bytes).sum::<u64>(),
            "units": job.units.len(),
            "repeated": *input.repeated,
            "identity": job.identity(),
            "same": job.stands_in(&folder),
        });
        if dry_run {
            return Ok(result);
        }
        let show = |folder: &Path| shown(&caller, show.as_ref(), folder);
        let task = Task { job: &job, input: &input, folder: &folder, threads, memory, share, force, show: &show };
        let items = items.into_iter().map(|(task, id, query, answer)| Item { task, id, query, answer });
        let outcome =
            run(&task, items.collect(), &mut |now| observe(&caller, progress.as_ref(), &progress_to_json(now)))?;
        result["found"] = json!(outcome.found);
        result["replaced"] = json!(outcome.replaced);
        result["missing"] = json!(outcome.missing);
        result["manifest"] = json!(outcome.manifest);
        result["progress"] = progress_to_json(&outcome.progress);
        Ok(result)
    });
    to_python(py, &caller.clone().settle(made)?)
}

/// Decides anew of a folder that [`clean`] wrote, by other settings of rules: documents by reason, `before` and `after`.
/// With `out` the texts follow.
#[pyfunction]
#[pyo3(signature = (folder, rules, *, out=None, memory=2 << 30, threads=0, force=false, show=None))]
#[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
fn rethreshold<'py>(
    py: Python<'py>,
    folder: PathBuf,
    rules: &str,
    out: Option<PathBuf>,
    memory: usize,
    threads: i64,
    force: bool,
    show: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (caller, rules) = (Caller::default(), Settings::from_json(rules)?);
    let threads = options::thread_count(threads)?;
    let made = py.detach(|| {
        let show = |folder: &Path| shown(&caller, show.as_ref(), folder);
        let check = || caller.signals();
        let (folder, out) = (&folder, out.as_deref());
        Again { folder, rules, out, memory, threads, force, show: &show, check: &check }.run()
    });
    to_python(py, &caller.clone().settle(made)?)
}

/// What was asked of a folder that is finished.
#[pyfunction]
fn cleaned_request(py: Python<'_>, folder: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let job = py.detach(|| job_of(&folder))?;
    to_python(py, &json!(job.request))
}

fn shown(caller: &Caller, show: Option<&Py<PyAny>>, folder: &Path) -> Result<()> {
    show.map_or(Ok(()), |show| caller.call(|py| show.bind(py).call1((folder,)).map(drop)))
}

/// What [`clean`] was asked.
struct Work<'a> {
    caller: &'a Caller,
    sources: &'a [Source],
    folder: &'a Path,
    request: Request,
    stdin: Option<PathBuf>,
    stdin_jsonl: bool,
}

impl Work<'_> {
    fn plan(self) -> Result<(Input, Job)> {
        let request = self.request;
        let options = Options {
            separator: Separator::parse(&request.split)?,
            field: request.field.clone(),
            column: request.column.clone(),
            invalid: request.invalid,
            skip_bad: request.skip_bad,
            meta: true,
            stdin: self.stdin,
            stdin_jsonl: self.stdin_jsonl,
            check: Some(self.caller.check()),
            ..Options::default()
        };
        let input = Input::of(self.sources, options)?;
        // what is written there would be read as well, and with --force what is read there removed
        let folder = resolved(self.folder);
        if input.files.iter().any(|file| resolved(file.place.path()).starts_with(&folder)) {
            return Err(Error::usage(format!("{} is both read and written", self.folder.display()))
                .hint("name another folder with --out"));
        }
        let job = Job::plan(&input, request)?;
        Ok((input, job))
    }
}

fn progress_to_json(now: &Progress) -> Value {
    json!({
        "seconds": now.seconds,
        "bytes": now.bytes,
        "total_bytes": now.total_bytes,
        "done_before": now.done_before,
        "documents": now.documents,
    })
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(clean, module)?)?;
    module.add_function(wrap_pyfunction!(cleaned_request, module)?)?;
    module.add_function(wrap_pyfunction!(rethreshold, module)?)
}

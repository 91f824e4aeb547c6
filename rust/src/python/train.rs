//! `pylm._rust.train_bpe`: sources → merges.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::sources::sources as given;
use super::{options, Caller};
use crate::bpe::train::{train, Phase, Report, Settings, State, Texts, Watch};
use crate::error::Result;
use crate::input::{Block, Blocks, Input, Options};
use crate::pattern::Pattern;

/// The documents of the sources, or the first of them.
struct Sources {
    blocks: Blocks,
    replaced: AtomicU64,
    documents: AtomicU64,
    /// Documents and bytes still to be taken. Blocks come in the order of the sources to whoever holds this.
    left: Option<Mutex<(u64, u64)>>,
}

impl Sources {
    fn take(&self) -> Result<Option<(Block, usize)>> {
        let Some(left) = &self.left else {
            return Ok(self.blocks.next()?.map(|block| {
                let segments = block.segments.len();
                (block, segments)
            }));
        };
        let mut left = left.lock().unwrap_or_else(PoisonError::into_inner);
        let (documents, bytes) = &mut *left;
        if *documents == 0 || *bytes == 0 {
            return Ok(None);
        }
        let Some(block) = self.blocks.next()? else { return Ok(None) };
        let mut taken = 0;
        for segment in &block.segments {
            if *documents == 0 || *bytes == 0 {
                break;
            }
            *documents -= u64::from(segment.ends);
            *bytes = bytes.saturating_sub(segment.range.len() as u64);
            taken += 1;
        }
        Ok(Some((block, taken)))
    }
}

impl Texts for Sources {
    fn next(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some((block, taken)) = self.take()? else { return Ok(false) };
        self.replaced.fetch_add(block.replaced, Ordering::Relaxed);
        let mut documents = 0;
        for segment in &block.segments[..taken] {
            visit(&block.text[segment.range.clone()]);
            documents += u64::from(segment.ends);
        }
        self.documents.fetch_add(documents, Ordering::Relaxed);
        Ok(true)
    }

    fn bytes(&self) -> u64 {
        match &self.left {
            // how many bytes so many documents have is not known
            Some(_) => 0,
            None => self.blocks.bytes,
        }
    }
}

/// Tells Python how far it is, and hears of Ctrl-C.
struct Told {
    callback: Option<Py<PyAny>>,
    caller: Caller,
}

impl Watch for Told {
    fn report(&self, report: &Report) -> bool {
        let told = self.caller.call(|py| {
            py.check_signals()?;
            if let Some(callback) = &self.callback {
                let phase = match report.phase {
                    Phase::Count => "count",
                    Phase::Merge => "merge",
                };
                callback.call1(py, (phase, report.done, report.total, report.seconds))?;
            }
            Ok(())
        });
        told.is_ok()
    }
}

/// What tells these sources, read in this way, from others.
fn fingerprint(input: &Input, how: &str) -> String {
    let files =
        input.files.iter().map(|file| format!("{} {} {} {}\n", file.name, file.size, file.mtime, file.fingerprint));
    files.chain([how.to_string()]).collect()
}

/// Trains byte-level BPE on sources. The merges are those of Hugging Face's `BpeTrainer`, whatever the threads.
#[pyfunction]
#[pyo3(signature = (
    sources, *, vocab_size, pattern="gpt2", specials=0, min_frequency=0, max_token_length=None, threads=0, before=None,
    allow_fewer=false, documents=None, bytes=None, split=None, field="text", column="text", invalid="error", skip_bad=false,
    stdin=None, stdin_jsonl=false, memory=None, temporary=None, state=None, progress=None
))]
#[allow(clippy::too_many_arguments)] // a Python function with keywords
pub fn train_bpe<'py>(
    py: Python<'py>,
    sources: Vec<Bound<'py, PyAny>>,
    vocab_size: usize,
    pattern: &str,
    specials: usize,
    min_frequency: u64,
    max_token_length: Option<usize>,
    threads: i64,
    before: Option<Vec<(u32, u32)>>,
    allow_fewer: bool,
    documents: Option<u64>,
    bytes: Option<u64>,
    split: Option<&str>,
    field: &str,
    column: &str,
    invalid: &str,
    skip_bad: bool,
    stdin: Option<String>,
    stdin_jsonl: bool,
    memory: Option<u64>,
    temporary: Option<PathBuf>,
    state: Option<PathBuf>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let caller = Caller::default();
    let sources = given(sources, &caller)?;
    let pattern = std::sync::Arc::new(Pattern::new(pattern)?);
    let cutter = pattern.clone();
    let options = Options {
        separator: options::separator(split)?,
        field: field.into(),
        column: column.into(),
        invalid: options::invalid(invalid)?,
        safe_cut: Some(std::sync::Arc::new(move |text: &[u8], low, high| cutter.safe_cut(text, low, high))),
        skip_bad,
        stdin: stdin.map(Into::into),
        stdin_jsonl,
        may_end: documents.is_some() || bytes.is_some(),
        check: Some(caller.check()),
        ..Options::default()
    };
    // only where it is asked for, so that what an earlier version began goes on
    let skipping = if skip_bad { " skip_bad" } else { "" };
    let how = format!("{split:?} {field:?} {column:?} {invalid:?} {documents:?} {bytes:?} {stdin_jsonl}{skipping}");
    let mut settings = Settings {
        vocab_size,
        specials,
        min_frequency,
        max_token_length,
        threads: options::thread_count(threads)?,
        allow_fewer,
        before: before.unwrap_or_default(),
        memory,
        temporary,
        state: None,
    };
    let told = Told { callback: progress, caller: caller.clone() };
    let trained = py.detach(|| {
        let input = Input::of(&sources, options)?;
        settings.state = state.map(|folder| State { folder, sources: fingerprint(&input, &how) });
        let blocks = Blocks::new(&input)?;
        let limited = documents.is_some() || bytes.is_some();
        let texts = Sources {
            blocks,
            replaced: AtomicU64::new(0),
            documents: AtomicU64::new(0),
            left: limited.then(|| Mutex::new((documents.unwrap_or(u64::MAX), bytes.unwrap_or(u64::MAX)))),
        };
        let trained = train(&texts, &pattern, &settings, &told)?;
        let repeated = (*input.repeated).clone();
        Ok((trained, texts.documents.into_inner(), texts.replaced.into_inner(), repeated))
    });
    let (trained, documents, replaced, repeated) = caller.settle(trained)?;
    let result = PyDict::new(py);
    result.set_item("merges", trained.merges)?;
    result.set_item("exhausted", trained.exhausted)?;
    result.set_item("documents", documents)?;
    result.set_item("bytes", trained.bytes)?;
    result.set_item("replaced", replaced)?;
    result.set_item("repeated", repeated)?;
    result.set_item("pre_tokens", trained.pre_tokens)?;
    result.set_item("distinct", trained.distinct)?;
    result.set_item("spills", trained.spills)?;
    result.set_item("resumed", trained.resumed)?;
    result.set_item("operations", trained.operations)?;
    result.set_item("count_seconds", trained.count_seconds)?;
    result.set_item("merge_seconds", trained.merge_seconds)?;
    Ok(result)
}

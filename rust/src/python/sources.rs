//! Sources as Python names them: paths, and objects that give ranges of a file which lies elsewhere.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyCFunction};

use super::Caller;
use crate::error::{Error, Result};
use crate::input::{Remote, Source};

/// What was given as sources: a path, or an object with `name`, `size`, `identity` and `read(start, length)`; where it
/// has `local()` too, that returns the path of a copy on this machine, or None.
pub(super) fn sources(given: Vec<Bound<'_, PyAny>>, caller: &Caller) -> PyResult<Vec<Source>> {
    let one = |object: Bound<'_, PyAny>| {
        if object.hasattr("read")? && object.hasattr("identity")? {
            return remote(&object, caller).map(Source::Elsewhere);
        }
        object.extract::<OsString>().map(Source::Named)
    };
    given.into_iter().map(one).collect()
}

fn remote(object: &Bound<'_, PyAny>, caller: &Caller) -> PyResult<Arc<Remote>> {
    let name: String = object.getattr("name")?.extract()?;
    let Some(size) = object.getattr("size")?.extract::<Option<u64>>()? else {
        return Err(Error::data(format!("{name} does not say how long it is, so that no part of it can be asked for"))
            .hint("fetch it first, then name the file")
            .into());
    };
    let path = match object.getattr_opt("path")? {
        Some(path) => path.extract::<PathBuf>()?,
        None => name.split(['?', '#']).next().unwrap_or(&name).into(),
    };
    let identity = object.getattr("identity")?.extract()?;
    let copy = match object.getattr_opt("local")? {
        Some(local) => local.call0()?.extract::<Option<PathBuf>>()?,
        None => None,
    };
    wait_at_exit(object.py())?;
    let (object, caller) = (object.clone().unbind(), caller.clone());
    let read = move |start: u64, length: u64| read(&object, &caller, start, length);
    Ok(Arc::new(Remote::new(name, path, size, identity, read).with_copy(copy)))
}

/// Threads of ours that are in Python.
static READING: AtomicUsize = AtomicUsize::new(0);
/// Python is about to end: none may go there any more.
static ENDING: AtomicBool = AtomicBool::new(false);

fn read(object: &Py<PyAny>, caller: &Caller, start: u64, length: u64) -> Result<Bytes> {
    READING.fetch_add(1, Ordering::SeqCst);
    let read = if ENDING.load(Ordering::SeqCst) {
        Err(Error::interrupted())
    } else {
        caller.call(|py| {
            let bytes = object.bind(py).call_method1("read", (start, length))?;
            Ok(Bytes::from_owner(PyBackedBytes::from(bytes.cast_into::<PyBytes>()?)))
        })
    };
    READING.fetch_sub(1, Ordering::SeqCst);
    read
}

/// Lets Python end only once no thread of ours is in it, which it would not survive.
fn wait_at_exit(py: Python<'_>) -> PyResult<()> {
    static ASKED: AtomicBool = AtomicBool::new(false);
    if !ASKED.swap(true, Ordering::SeqCst) {
        let wait = PyCFunction::new_closure(py, None, None, |args, _| {
            ENDING.store(true, Ordering::SeqCst);
            args.py().detach(|| {
                while READING.load(Ordering::SeqCst) > 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            });
        })?;
        py.import("atexit")?.call_method1("register", (wait,))?;
    }
    Ok(())
}

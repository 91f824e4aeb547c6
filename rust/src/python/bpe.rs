//! `pylm._rust.Bpe`: a vocabulary and its encoder.

use std::path::PathBuf;
use std::sync::Arc;

use numpy::ndarray::ArrayView1;
use numpy::{Element, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PySlice, PyString};

use super::Caller;
use crate::bpe::encode::many::encode_all;
use crate::bpe::encode::ragged::Ragged;
use crate::bpe::{Allowed, Encoder, Vocab};
use crate::error::{Error, Result};
use crate::id::{is_narrow, Id};
use crate::memory::spare::keep_spare;
use crate::pattern::{portable, Pattern};

#[pyclass(frozen, module = "pylm._rust")]
pub struct Bpe {
    pub encoder: Arc<Encoder>,
}

/// Where compiled vocabularies are kept: below `PYLM_CACHE`, else below the user's cache folder; None for a user
/// without a home.
fn cache_folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || {
        if cfg!(target_os = "macos") {
            named("HOME").map(|home| home.join("Library/Caches/pylm"))
        } else {
            let folder = named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")));
            folder.map(|folder| folder.join("pylm"))
        }
    };
    named("PYLM_CACHE").or_else(home).map(|folder| folder.join("compiled"))
}

/// Text of a Python `str` or `bytes`, not copied but where a `str` holds lone surrogates.
enum Text<'py> {
    Str(PyBackedStr),
    Bytes(Bound<'py, PyBytes>),
}

/// A text that may be read without the interpreter's lock: `str` and `bytes` do not change, and `Text` keeps them
/// alive.
#[derive(Clone, Copy)]
struct Borrowed<'a>(&'a [u8]);

impl<'py> Text<'py> {
    fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let Ok(string) = object.cast::<PyString>() else {
            let kind = object.get_type().name()?;
            return Err(Error::usage(format!("text is str or bytes, not {kind}")).into());
        };
        if let Ok(string) = PyBackedStr::try_from(string.clone()) {
            return Ok(Self::Str(string));
        }
        // what tiktoken does: pairs of surrogates are their character, lone ones are U+FFFD
        let units = string.call_method1("encode", ("utf-16", "surrogatepass"))?;
        let string = units.call_method1("decode", ("utf-16", "replace"))?;
        Ok(Self::Str(string.extract()?))
    }

    fn borrow(&self) -> Borrowed<'_> {
        Borrowed(match self {
            Self::Str(string) => string.as_bytes(),
            Self::Bytes(bytes) => bytes.as_bytes(),
        })
    }
}

fn allowed(object: Option<&Bound<'_, PyAny>>) -> PyResult<Allowed> {
    let Some(object) = object else { return Ok(Allowed::None) };
    if let Ok(word) = object.extract::<PyBackedStr>() {
        return match &*word {
            "all" => Ok(Allowed::All),
            "none" => Ok(Allowed::None),
            "none_raise" => Ok(Allowed::NoneRaise),
            other => Err(Error::usage(format!(
                "allowed_special is \"all\", \"none\", \"none_raise\" or a set of tokens, not {other:?}"
            ))
            .into()),
        };
    }
    let mut names = object.try_iter()?.map(|name| name?.extract::<String>()).collect::<PyResult<Vec<_>>>()?;
    names.sort();
    Ok(Allowed::These(names))
}

#[pymethods]
impl Bpe {
    /// What it is compiled to is kept in the cache folder, to be mapped the next time.
    #[staticmethod]
    fn from_tokenizer_json(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let source = [b"tokenizer.json".as_slice(), data];
        let read = || Encoder::cached(cache_folder().as_deref(), &source, || Vocab::from_tokenizer_json(data));
        Ok(Self { encoder: py.detach(read)?.into() })
    }

    #[staticmethod]
    #[pyo3(signature = (data, pattern, specials))]
    fn from_ranks(py: Python<'_>, data: &[u8], pattern: &str, specials: Vec<(String, u32)>) -> PyResult<Self> {
        let named: Vec<String> = specials.iter().map(|(name, id)| format!("{id} {name}")).collect();
        let mut source = vec![b"ranks".as_slice(), data, pattern.as_bytes()];
        source.extend(named.iter().map(String::as_bytes));
        let read = || Vocab::from_ranks(data, Pattern::new(pattern)?, specials);
        let encoder = py.detach(|| Encoder::cached(cache_folder().as_deref(), &source, read))?;
        Ok(Self { encoder: encoder.into() })
    }

    #[staticmethod]
    fn from_merges(py: Python<'_>, merges: Vec<(u32, u32)>, pattern: &str, specials: Vec<String>) -> PyResult<Self> {
        make(py, || Vocab::from_merges(merges, specials, Pattern::new(pattern)?))
    }

    #[staticmethod]
    fn from_vocab_and_merges(
        py: Python<'_>,
        vocab: &[u8],
        merges: &[u8],
        pattern: &str,
        specials: Vec<String>,
    ) -> PyResult<Self> {
        make(py, || Vocab::from_vocab_and_merges(vocab, merges, Pattern::new(pattern)?, &specials))
    }

    /// Ids of a `str` or `bytes` as a numpy array: uint16 where every id of the vocabulary fits, else uint32.
    #[pyo3(signature = (text, allowed_special=None))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &Bound<'py, PyAny>,
        allowed_special: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = Text::new(text)?;
        let allowed = allowed(allowed_special)?;
        if self.narrow() {
            Ok(PyArray1::from_vec(py, self.encode_one::<u16>(py, text.borrow(), &allowed)?).into_any())
        } else {
            Ok(PyArray1::from_vec(py, self.encode_one::<u32>(py, text.borrow(), &allowed)?).into_any())
        }
    }

    /// The same of many texts, by `threads` threads (0: one a core). The arrays are parts of one: keeping a small one
    /// keeps them all; copy it if that matters. When none is left, their memory (128 MB at most) waits for the next
    /// call.
    #[pyo3(signature = (texts, threads=0, allowed_special=None))]
    fn encode_batch<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Bound<'py, PyAny>>,
        threads: usize,
        allowed_special: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let texts = texts.iter().map(Text::new).collect::<PyResult<Vec<_>>>()?;
        let texts: Vec<Borrowed<'_>> = texts.iter().map(Text::borrow).collect();
        let allowed = allowed(allowed_special)?;
        if self.narrow() {
            self.encode_many::<u16>(py, &texts, threads, &allowed)
        } else {
            self.encode_many::<u32>(py, &texts, threads, &allowed)
        }
    }

    /// The bytes that ids stand for. Any one-dimensional array of integers or sequence of them.
    fn decode_bytes<'py>(&self, py: Python<'py>, ids: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let mut out = Vec::new();
        if let Ok(ids) = ids.extract::<PyReadonlyArray1<'_, u16>>() {
            self.encoder.vocab.decode(ids.as_array().iter().map(|&id| id.into()), &mut out)?;
        } else if let Ok(ids) = ids.extract::<PyReadonlyArray1<'_, u32>>() {
            self.encoder.vocab.decode(ids.as_array().iter().copied(), &mut out)?;
        } else {
            for id in ids.try_iter()? {
                let id = id?;
                let Ok(id) = id.extract::<u32>() else {
                    return Err(Error::data(format!("{} is not an id", id.repr()?))
                        .hint("ids are integers from 0 up")
                        .into());
                };
                self.encoder.vocab.decode([id], &mut out)?;
            }
        }
        Ok(PyBytes::new(py, &out))
    }

    /// The bytes of one token.
    fn token_bytes<'py>(&self, py: Python<'py>, id: u32) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, self.encoder.vocab.token(id)?))
    }

    fn to_tokenizer_json(&self, py: Python<'_>) -> String {
        py.detach(|| self.encoder.vocab.to_tokenizer_json())
    }

    fn to_ranks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let ranks = py.detach(|| self.encoder.vocab.to_ranks())?;
        Ok(PyBytes::new(py, &ranks))
    }

    /// SHA-256 of vocabulary, merges, pattern and specials.
    #[getter]
    fn identity(&self, py: Python<'_>) -> String {
        py.detach(|| self.encoder.vocab.identity())
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.encoder.vocab.size()
    }

    /// Special tokens and their ids.
    #[getter]
    fn specials(&self) -> Vec<(String, u32)> {
        self.encoder.vocab.specials.clone()
    }

    /// Added tokens that are not special and their ids: found in every text, whatever is allowed.
    #[getter]
    fn added(&self) -> Vec<(String, u32)> {
        self.encoder.vocab.added.clone()
    }

    /// Added tokens whose text a tokenizer.json also gives to another token, so that others read that one.
    #[getter]
    fn spelled_twice(&self) -> Vec<String> {
        self.encoder.vocab.spelled_twice()
    }

    /// The merges as pairs of ids, by rank.
    #[getter]
    fn merges(&self) -> Vec<(u32, u32)> {
        self.encoder.vocab.merges.clone()
    }

    /// The pattern's name, or its regex where it has none.
    #[getter]
    fn pattern(&self) -> String {
        let pattern = &self.encoder.vocab.pattern;
        pattern.name().unwrap_or(pattern.regex()).to_owned()
    }

    fn __repr__(&self) -> String {
        format!(
            "Bpe(vocab_size={}, pattern={:?}, identity={:?})",
            self.vocab_size(),
            self.pattern(),
            &self.encoder.vocab.identity()[..12]
        )
    }
}

/// A spelling of a regex that Hugging Face's engine reads as ours does, and the parts that are spelled anew in it.
#[pyfunction]
pub fn portable_pattern(pattern: &str) -> PyResult<(String, Vec<String>)> {
    Pattern::from_regex(pattern)?;
    let portable = portable(pattern)?;
    Ok((portable.regex, portable.parts))
}

fn make(py: Python<'_>, read: impl FnOnce() -> Result<Vocab> + Send) -> PyResult<Bpe> {
    Ok(Bpe { encoder: py.detach(|| read().map(Encoder::new))?.into() })
}

impl Bpe {
    fn narrow(&self) -> bool {
        is_narrow(self.encoder.vocab.size())
    }

    fn encode_one<T: Id>(&self, py: Python<'_>, text: Borrowed<'_>, allowed: &Allowed) -> PyResult<Vec<T>> {
        let caller = Caller::default();
        let made = py.detach(|| encode_all(&self.encoder, &[text.0], allowed, 0, &|| caller.signals().is_err()));
        Ok(caller.settle(made)?.ids)
    }

    fn encode_many<'py, T: Id + Element>(
        &self,
        py: Python<'py>,
        texts: &[Borrowed<'_>],
        threads: usize,
        allowed: &Allowed,
    ) -> PyResult<Vec<Bound<'py, PyAny>>>
    where
        Ids: From<Vec<T>>,
    {
        let texts: Vec<&[u8]> = texts.iter().map(|text| text.0).collect();
        let caller = Caller::default();
        let stop = || caller.signals().is_err();
        let made = py.detach(|| encode_all::<T>(&self.encoder, &texts, allowed, threads, &stop));
        let Ragged { ids, ends } = caller.settle(made)?;
        let all = array(py, ids)?;
        let starts = std::iter::once(&0).chain(&ends);
        let part = |(&start, &end): (&usize, &usize)| all.get_item(PySlice::new(py, start as isize, end as isize, 1));
        starts.zip(&ends).map(part).collect()
    }
}

/// The memory of a numpy array, which serves the next result once the array is gone.
#[pyclass(frozen, module = "pylm._rust")]
struct Results(Ids);

enum Ids {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

impl From<Vec<u16>> for Ids {
    fn from(ids: Vec<u16>) -> Self {
        Self::Narrow(ids)
    }
}

impl From<Vec<u32>> for Ids {
    fn from(ids: Vec<u32>) -> Self {
        Self::Wide(ids)
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        match &mut self.0 {
            Ids::Narrow(ids) => keep_spare(std::mem::take(ids)),
            Ids::Wide(ids) => keep_spare(std::mem::take(ids)),
        }
    }
}

/// The ids as an array, without a copy.
fn array<T: Id + Element>(py: Python<'_>, mut ids: Vec<T>) -> PyResult<Bound<'_, PyArray1<T>>>
where
    Ids: From<Vec<T>>,
{
    let (start, count) = (ids.as_mut_ptr(), ids.len());
    let results = Bound::new(py, Results(ids.into()))?;
    // SAFETY: the vector's own memory, which moving the vector does not move; `results` keeps it and never reads it, so
    // that the array is free to be written
    Ok(unsafe { PyArray1::borrow_from_array(&ArrayView1::from_shape_ptr(count, start), results.into_any()) })
}

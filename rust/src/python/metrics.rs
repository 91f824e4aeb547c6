//! `pylm._rust.Metrics`: metrics.jsonl as columns and curves.

use std::path::PathBuf;

use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::metrics::{pixels, Curve, Metrics as File, Sight};

type Numbers<'py> = Bound<'py, PyArray1<f64>>;

/// The columns of a metrics.jsonl.
#[pyclass(module = "pylm._rust")]
pub struct Metrics {
    file: File,
}

#[pymethods]
impl Metrics {
    #[new]
    #[pyo3(signature = (path, *, index=true))]
    fn new(py: Python<'_>, path: PathBuf, index: bool) -> PyResult<Self> {
        Ok(Self { file: py.detach(|| File::open(&path, index))? })
    }

    fn refresh(&mut self, py: Python<'_>) -> PyResult<bool> {
        Ok(py.detach(|| self.file.refresh())?)
    }

    #[getter]
    fn keys(&self) -> Vec<&str> {
        self.file.keys()
    }

    #[getter]
    fn lines(&self) -> u32 {
        self.file.lines()
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.file.bytes()
    }

    #[getter]
    fn cuts(&mut self) -> Vec<f64> {
        self.file.cuts()
    }

    #[pyo3(signature = (key, over="step", *, gone=false))]
    fn points<'py>(&mut self, py: Python<'py>, key: &str, over: &str, gone: bool) -> (Numbers<'py>, Numbers<'py>) {
        let curve = py.detach(|| self.file.curve(key, over, gone));
        (PyArray1::from_vec(py, curve.x), PyArray1::from_vec(py, curve.y))
    }

    #[pyo3(signature = (key, over="step", *, columns, low=None, high=None, smooth=0.0, gone=false))]
    #[expect(clippy::too_many_arguments, reason = "keywords, for Python")]
    fn curve(
        &mut self,
        py: Python<'_>,
        key: &str,
        over: &str,
        columns: usize,
        low: Option<f64>,
        high: Option<f64>,
        smooth: f64,
        gone: bool,
    ) -> (Vec<f64>, Vec<f64>) {
        let curve = py.detach(|| self.file.drawn(key, over, gone, Sight { columns, low, high, smooth }));
        (curve.x, curve.y)
    }

    #[pyo3(signature = (key, over="step"))]
    fn range(&mut self, py: Python<'_>, key: &str, over: &str) -> Option<(f64, f64)> {
        py.detach(|| self.file.range(key, over))
    }

    fn sums(&mut self, py: Python<'_>, key: &str, over: &str, parts: usize, low: f64, high: f64) -> Vec<f64> {
        py.detach(|| self.file.sums(key, over, parts, low, high))
    }

    fn at(&mut self, py: Python<'_>, key: &str, over: &str, places: Vec<f64>) -> Vec<f64> {
        py.detach(|| {
            let curve: Curve = self.file.curve(key, over, false);
            places.into_iter().map(|place| curve.at(place)).collect()
        })
    }
}

/// The points of a curve that are drawn at so many columns of pixels: of each the first, lowest, highest and last.
#[pyfunction]
fn curve_pixels(
    x: PyReadonlyArray1<'_, f64>,
    y: PyReadonlyArray1<'_, f64>,
    columns: usize,
    low: f64,
    high: f64,
) -> Vec<usize> {
    pixels(&x.as_array().to_vec(), &y.as_array().to_vec(), columns, low, high)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Metrics>()?;
    module.add_function(wrap_pyfunction!(curve_pixels, module)?)?;
    Ok(())
}

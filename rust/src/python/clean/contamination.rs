//! `pylm._rust.Contamination`: test items, and the texts in which they stand.

use pyo3::prelude::*;

use crate::clean::contamination::{Grams, Index, Item};

/// The n-grams of test items; `whole` looks for those of the question too.
#[pyclass(frozen, module = "pylm._rust")]
pub struct Contamination {
    index: Index,
}

#[pymethods]
impl Contamination {
    #[new]
    #[pyo3(signature = (items, *, n=13, whole=false))]
    fn new(items: Vec<(String, String, String, String)>, n: usize, whole: bool) -> PyResult<Self> {
        let grams = if whole { Grams::Whole } else { Grams::Answer };
        let items = items.into_iter().map(|(task, id, query, answer)| Item { task, id, query, answer });
        Ok(Self { index: Index::new(n, grams, items)? })
    }

    /// For each text the task, the item and the gram that were found first, and how many items stand in it.
    fn check(&self, py: Python<'_>, texts: Vec<String>) -> Vec<Option<(String, String, String, usize)>> {
        py.detach(|| {
            let mut scratch = self.index.scratch();
            let mut check = |text: &String| {
                let hit = self.index.check(text, &mut scratch)?;
                let (task, id) = self.index.item(hit.item);
                let name = self.index.tasks()[task as usize].name.clone();
                Some((name, id.into(), hit.gram, scratch.items.len()))
            };
            texts.iter().map(&mut check).collect()
        })
    }

    /// Each task: its name, its items, and those that have a gram at all.
    #[getter]
    fn tasks(&self) -> Vec<(String, u32, u32)> {
        let row = |task: &crate::clean::contamination::Task| (task.name.clone(), task.items, task.items_with_a_gram);
        self.index.tasks().iter().map(row).collect()
    }
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Contamination>()
}

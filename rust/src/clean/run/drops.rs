//! Lines, paragraphs and spans of sentences that stand in many documents, and are dropped from all but the first.

use super::walk::Walk;
use crate::clean::duplicates::repeats::{without, Finder, Kind, Parts, Repeats};
use crate::clean::duplicates::Means;
use crate::error::Result;

/// What is dropped of which document, one kind of part after another.
#[derive(Default)]
pub(super) struct Drops(Vec<(Kind, Repeats)>);

impl Drops {
    /// Looks through all texts once for each kind; a later kind sees what an earlier one has left.
    pub fn find<W: Walk>(
        asked: Vec<(Kind, usize)>,
        documents: u32,
        means: &Means<'_>,
        walk: &dyn Fn() -> W,
    ) -> Result<Self> {
        let mut drops = Self::default();
        for (kind, least) in asked {
            let mut finder = Finder::new(means.memory, means.threads, means.scratch);
            let mut parts = Parts::new(kind);
            let mut texts = walk();
            for document in 0..documents {
                if document % 1024 == 0 {
                    (means.check)()?;
                }
                let (_, text) = texts.document(document)?;
                let text = text.unwrap_or_default();
                let left = drops.apply(document, text);
                finder.add(document, parts.of(left.as_deref().unwrap_or(text)))?;
            }
            drops.0.push((kind, finder.finish(least)?));
        }
        Ok(drops)
    }

    pub fn any(&self) -> bool {
        self.0.iter().any(|(_, repeats)| repeats.count() > 0)
    }

    /// What is left of a document; None where nothing is dropped.
    pub fn apply(&self, document: u32, text: &str) -> Option<String> {
        let (mut left, mut places) = (None, Vec::new());
        for (kind, repeats) in &self.0 {
            repeats.of(document, &mut places);
            if !places.is_empty() {
                left = Some(without(left.as_deref().unwrap_or(text), *kind, &places));
            }
        }
        left
    }
}

//! What a classifier must say of a document that stays.

use serde::{Deserialize, Serialize};

use crate::clean::language::Classifier;

/// What a classifier asks for, as the decisions keep it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// As it was typed.
    pub told: String,
    pub comparison: String,
    pub threshold: f64,
}

impl Asked {
    pub fn of(classifier: &Classifier) -> Self {
        Self {
            told: classifier.told().into(),
            comparison: classifier.comparison().name().into(),
            threshold: f64::from(classifier.threshold()),
        }
    }

    /// Whether a document whose label is this probable stays.
    pub fn holds(&self, probability: f64) -> bool {
        match self.comparison.as_str() {
            ">=" => probability >= self.threshold,
            "<=" => probability <= self.threshold,
            "<" => probability < self.threshold,
            _ => probability > self.threshold,
        }
    }
}

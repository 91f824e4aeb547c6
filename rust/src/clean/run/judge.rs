//! Whether a document stays, by what was found of it: the first reason against it.

use super::request::Request;
use crate::clean::record::{Tag, EMPTY};
use crate::clean::rules::{self, Comparison, Key, Measures, Rules, NAMES};
use crate::error::Result;

/// A reason to remove a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reason {
    pub name: String,
    /// The rule's key; nothing where no threshold decides.
    pub key: String,
    /// What it is counted under in the report: a family of rules, or a step of its own.
    pub stage: String,
    pub comparison: &'static str,
    /// Where the line is drawn for languages without thresholds of their own.
    pub threshold: Option<f64>,
    /// The place among the measures of a record.
    pub measure: Option<usize>,
}

/// The number of a reason; documents that stay have none.
pub(super) type Number = u16;
pub(super) const STAYS: Number = Number::MAX;

/// Knows all reasons, those against single documents in the order in which they are tried.
pub(super) struct Judge {
    pub reasons: Vec<Reason>,
    rules: Rules,
    /// Where a record has each of the rules' measures.
    columns: Vec<usize>,
    /// The number of the reason of each of the rules' keys.
    of_key: Vec<(&'static str, Number)>,
    empty: Number,
    pub exact: Number,
    pub near: Number,
}

impl Judge {
    pub fn new(request: &Request) -> Result<Self> {
        let settings = &request.rules;
        let full = settings.full();
        let columns = columns(request);
        let mut reasons = Vec::new();
        let mut of_key = Vec::new();
        for family in &settings.families {
            for key in rules::keys().iter().filter(|key| key.family == family && !key.measure.is_empty()) {
                of_key.push((key.key, reasons.len() as Number));
                reasons.push(Reason {
                    name: key.reason.into(),
                    key: key.key.into(),
                    stage: key.family.into(),
                    comparison: key.comparison.sign(),
                    threshold: full.default.get(key.key).and_then(serde_json::Value::as_f64),
                    measure: columns.iter().position(|column| NAMES[*column] == key.measure),
                });
            }
        }
        let mut step = |name: &str, stage: &str| {
            reasons.push(of_step(name, stage));
            reasons.len() as Number - 1
        };
        let empty = step("empty", "empty");
        let (exact, near) = (step("exact_duplicate", "exact"), step("near_duplicate", "near"));
        Ok(Self { reasons, rules: Rules::new(settings)?, columns, of_key, empty, exact, near })
    }

    /// The first reason against a document by itself, and the measure that says so.
    pub fn first(&self, tag: &Tag) -> Option<(Number, Option<f64>)> {
        if let Some(decision) = self.rules.decide(tag.language(), &self.measures(tag)) {
            let (_, number) = self.of_key.iter().find(|(key, _)| *key == decision.key)?;
            return Some((*number, Some(decision.measure)));
        }
        (tag.flags & EMPTY != 0).then_some((self.empty, None))
    }

    /// What the measure at a place of a record is called.
    pub fn measure_name(&self, place: usize) -> &'static str {
        NAMES[self.columns[place]]
    }

    fn measures(&self, tag: &Tag) -> Measures {
        let mut values = [f64::NAN; NAMES.len()];
        for (column, value) in self.columns.iter().zip(&tag.measures) {
            values[*column] = *value;
        }
        Measures::from_values(values)
    }
}

fn of_step(name: &str, stage: &str) -> Reason {
    let (name, stage) = (name.into(), stage.into());
    Reason { name, key: String::new(), stage, comparison: "", threshold: None, measure: None }
}

/// The places of the measures that are kept of a document, among [`NAMES`]: those of the families that are asked for.
pub(super) fn columns(request: &Request) -> Vec<usize> {
    let asked = |key: &Key| request.rules.families.iter().any(|family| family == key.family);
    let used = |name: &str| {
        rules::keys().iter().any(|key| key.measure == name && key.comparison != Comparison::Option && asked(key))
    };
    (0..NAMES.len()).filter(|place| used(NAMES[*place])).collect()
}

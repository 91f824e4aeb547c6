//! Whether a document stays, by what was found of it: the first reason against it.

use std::collections::{BTreeMap, BTreeSet};

use super::asked::Asked;
use super::request::Request;
use crate::clean::record::{Tag, EMPTY};
use crate::clean::rules::{self, Comparison, Key, Measures, Rules, NAMES};
use crate::error::Result;

/// A reason to remove a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reason {
    pub name: String,
    /// The key of its rule, or what else tells it from others of its name.
    pub key: String,
    /// What it is counted under in the report: a family of rules, or a step of its own.
    pub stage: String,
    pub comparison: String,
    /// Where the line is drawn for languages without thresholds of their own.
    pub threshold: Option<f64>,
    /// The place among the measures of a record.
    pub measure: Option<usize>,
}

/// The number of a reason; documents that stay have none.
pub(super) type Number = u16;
pub(super) const STAYS: Number = Number::MAX;

/// Why an address is not wanted, by datatrove's names.
pub(super) const ADDRESSES: [&str; 6] =
    ["domain", "subdomain", "url", "hard_blacklisted", "soft_blacklisted", "blacklisted_subword"];

/// Knows all reasons, those against single documents in the order in which they are tried.
pub(super) struct Judge {
    pub reasons: Vec<Reason>,
    languages: BTreeSet<String>,
    scores: BTreeMap<String, f32>,
    classifiers: Vec<Asked>,
    rules: Rules,
    /// Where the rules have each of a record's measures; those of the classifiers come after them.
    columns: Vec<usize>,
    /// The numbers of the reasons of the rules' keys.
    of_key: Vec<(&'static str, Number)>,
    address: Number,
    language: Number,
    classifier: Number,
    empty: Number,
    contaminated: Number,
    pub exact: Number,
    pub near: Number,
}

impl Judge {
    pub fn new(request: &Request, classifiers: &[Asked]) -> Result<Self> {
        let mut reasons: Vec<Reason> = Vec::new();
        let mut put = |reason: Reason| {
            reasons.push(reason);
            reasons.len() as Number - 1
        };
        let address = put(of_address(0));
        for place in 1..ADDRESSES.len() {
            put(of_address(place));
        }
        let language = put(of_step("language", "language"));
        let columns = columns(request);
        let classifier = language + 1;
        for (number, asked) in classifiers.iter().enumerate() {
            put(of_classifier(asked, columns.len() + number));
        }
        let full = request.rules.full();
        let mut of_key = Vec::new();
        for family in &request.rules.families {
            for key in rules::keys().iter().filter(|key| key.family == family && !key.measure.is_empty()) {
                let threshold = full.default.get(key.key).and_then(serde_json::Value::as_f64);
                let measure = columns.iter().position(|column| NAMES[*column] == key.measure);
                of_key.push((key.key, put(of_rule(key, threshold, measure))));
            }
        }
        let empty = put(of_step("empty", "empty"));
        let contaminated = put(of_step("contaminated", "contamination"));
        let (exact, near) = (put(of_step("exact_duplicate", "exact")), put(of_step("near_duplicate", "near")));
        Ok(Self {
            reasons,
            languages: request.languages.iter().cloned().collect(),
            scores: request.language_scores.clone(),
            classifiers: classifiers.to_vec(),
            rules: Rules::new(&request.rules)?,
            columns,
            of_key,
            address,
            language,
            classifier,
            empty,
            contaminated,
            exact,
            near,
        })
    }

    /// The first reason against a document by itself, and the measure that says so.
    pub fn first(&self, tag: &Tag) -> Option<(Number, Option<f64>)> {
        if tag.address > 0 {
            return Some((self.address + tag.address - 1, None));
        }
        if !self.languages.is_empty() && !self.languages.contains(tag.language()) {
            return Some((self.language, None));
        }
        if self.scores.get(tag.language()).is_some_and(|least| tag.score < *least) {
            return Some((self.language, Some(f64::from(tag.score))));
        }
        let probabilities = &tag.measures[self.columns.len()..];
        let refused = |(asked, probability): (&Asked, &f64)| !asked.holds(*probability);
        if let Some(number) = self.classifiers.iter().zip(probabilities).position(refused) {
            return Some((self.classifier + number as Number, Some(probabilities[number])));
        }
        if let Some(decision) = self.rules.decide(tag.language(), &self.measures(tag)) {
            let (_, number) = self.of_key.iter().find(|(key, _)| *key == decision.key)?;
            return Some((*number, Some(decision.measure)));
        }
        if tag.flags & EMPTY != 0 {
            return Some((self.empty, None));
        }
        (tag.task > 0).then_some((self.contaminated, None))
    }

    /// What the measure at a place of a record is called.
    pub fn measure_name(&self, place: usize) -> &str {
        match self.columns.get(place) {
            Some(column) => NAMES[*column],
            None => &self.classifiers[place - self.columns.len()].told,
        }
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
    Reason { name, key: String::new(), stage, comparison: String::new(), threshold: None, measure: None }
}

fn of_address(place: usize) -> Reason {
    Reason { key: format!("url.{}", ADDRESSES[place]), ..of_step("url", "url") }
}

fn of_classifier(asked: &Asked, measure: usize) -> Reason {
    Reason {
        key: asked.told.clone(),
        // what removes is what is not asked for
        comparison: match asked.comparison.as_str() {
            ">=" => "<",
            "<=" => ">",
            "<" => ">=",
            _ => "<=",
        }
        .into(),
        threshold: Some(asked.threshold),
        measure: Some(measure),
        ..of_step("classifier", "classifier")
    }
}

fn of_rule(key: &Key, threshold: Option<f64>, measure: Option<usize>) -> Reason {
    let comparison = key.comparison.sign().into();
    Reason { key: key.key.into(), comparison, threshold, measure, ..of_step(key.reason, key.family) }
}

/// The places of the measures that are kept of a document, among [`NAMES`]: those of the families that are asked for.
pub(super) fn columns(request: &Request) -> Vec<usize> {
    let asked = |key: &Key| request.rules.families.iter().any(|family| family == key.family);
    let used = |name: &str| {
        rules::keys().iter().any(|key| key.measure == name && key.comparison != Comparison::Option && asked(key))
    };
    (0..NAMES.len()).filter(|place| used(NAMES[*place])).collect()
}

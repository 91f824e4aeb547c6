//! `report.json`: what each step removed, of which sources and languages, with examples and histograms.

mod clusters;
mod counts;
mod histograms;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{json, Value};

use super::decide::Decided;
use super::judge::{Judge, STAYS};
use super::line::id_of;
use super::request::Request;
use super::tags::Tags;
use super::walk::Walk;
use crate::clean::language::Language;
use crate::clean::private;
use crate::clean::words::Cut;
use crate::error::Result;

use clusters::Groups;
use counts::{Count, Counts};
use histograms::Histograms;

pub(super) const FORMAT: &str = "pylm-clean-report-1";
/// Characters of an example, and of a member of a cluster.
const EXAMPLE: usize = 400;
const MEMBER: usize = 200;
/// Examples of a reason.
const EXAMPLES: usize = 3;

/// What the report is of.
pub(super) struct Reported<'a> {
    pub request: &'a Request,
    pub tags: &'a Tags,
    pub judge: &'a Judge,
    pub decided: &'a Decided,
}

/// What a document calls itself, and how its text begins, by its number.
type Excerpts = BTreeMap<u32, (Value, String)>;

impl Reported<'_> {
    pub fn make(&self, walk: &mut impl Walk) -> Result<Value> {
        let mut counts = Counts::new(self.judge.reasons.len());
        let mut histograms = Histograms::new(self.tags, self.judge, self.request)?;
        let mut examples: Vec<BTreeSet<(u64, u32)>> = vec![BTreeSet::new(); self.judge.reasons.len()];
        self.tags.each(&mut |document, tag| {
            let verdict = self.decided.verdicts[document as usize];
            counts.add(tag, verdict);
            histograms.add(tag, verdict);
            if verdict != STAYS {
                // some from everywhere, the same ones each time
                let some = &mut examples[verdict as usize];
                some.insert((xxhash_rust::xxh3::xxh3_64(&document.to_le_bytes()), document));
                if some.len() > EXAMPLES {
                    some.pop_last();
                }
            }
            Ok(())
        })?;
        let clustered = &self.decided.clustered;
        let exact = Groups::of(&clustered.exact, self.decided);
        let near = Groups::of(&clustered.near, self.decided);
        let wanted = examples.iter().flatten().map(|(_, document)| *document).chain(near.members());
        let excerpts = excerpts(walk, wanted.collect())?;
        let removed = |reason: u16| counts.of_reason[reason as usize].documents;
        Ok(json!({
            "format": FORMAT,
            "version": crate::VERSION,
            "rules": self.request.named,
            "settings": self.request,
            "documents": counts.all.documents,
            "bytes": counts.all.bytes,
            "kept": counts.kept,
            "stages": self.stages(&counts),
            "sources": self.sources(&counts),
            "languages": self.languages(&counts),
            "reasons": self.reasons(&counts, &examples, &excerpts)?,
            "measures": histograms.to_json(self.judge),
            "lines": self.tags.schema.tally.lines,
            "repairs": self.tags.schema.tally.repairs,
            "private": self.tags.schema.tally.private,
            "nulls": self.tags.schema.tally.nulls,
            "replaced_bytes": self.tags.schema.tally.replaced,
            "skipped": {"count": self.tags.schema.tally.skipped, "first": self.tags.schema.tally.first_skipped},
            "contamination": {"n": self.request.ngram, "tasks": self.tests(&counts)},
            "clusters": {
                "exact": exact.to_json(removed(self.judge.exact)),
                "near": near.to_json_with_members(
                    removed(self.judge.near), &self.tags.schema, &excerpts, self.tags
                )?,
            },
        }))
    }

    /// What came into each step that was asked for and what it removed, in order.
    fn stages(&self, counts: &Counts) -> Vec<Value> {
        let asked = |stage: &str| match stage {
            "url" => !self.request.url_lists.is_empty(),
            "language" => !self.request.languages.is_empty() || !self.request.language_scores.is_empty(),
            "contamination" => !self.request.against.is_empty(),
            "exact" => self.request.exact,
            "near" => self.request.near != "off",
            _ => true,
        };
        let mut stages: Vec<(&str, Count)> = Vec::new();
        for (reason, count) in self.judge.reasons.iter().zip(&counts.of_reason).filter(|(one, _)| asked(&one.stage)) {
            match stages.last_mut().filter(|(stage, _)| *stage == reason.stage) {
                Some((_, removed)) => removed.add(*count),
                None => stages.push((&reason.stage, *count)),
            }
        }
        let mut left = counts.all;
        let told = stages.into_iter().map(|(stage, removed)| {
            let came = left;
            left = left.less(removed);
            json!({"stage": stage, "documents": came.documents, "bytes": came.bytes, "removed": removed})
        });
        told.collect()
    }

    fn tests(&self, counts: &Counts) -> Vec<Value> {
        let tests = self.tags.schema.tests.iter().enumerate();
        let told = tests.map(|(number, test)| {
            let mut told = json!(test);
            told["documents"] = json!(counts.tasks.get(&(number as u16 + 1)).unwrap_or(&0));
            told
        });
        told.collect()
    }

    fn named(&self, counts: &[u64]) -> Value {
        let reasons = self.judge.reasons.iter().zip(counts).filter(|(_, count)| **count > 0);
        let mut named: BTreeMap<&str, u64> = BTreeMap::new();
        reasons.for_each(|(reason, count)| *named.entry(&reason.name).or_default() += count);
        json!(named)
    }

    fn sources(&self, counts: &Counts) -> Vec<Value> {
        let told = counts.sources.iter().map(|(source, of)| {
            json!({
                "name": self.tags.schema.sources[*source as usize], "documents": of.all.documents,
                "bytes": of.all.bytes, "kept": of.kept, "reasons": self.named(&of.reasons),
            })
        });
        told.collect()
    }

    fn languages(&self, counts: &Counts) -> Vec<Value> {
        let told = counts.languages.iter().map(|(language, of)| {
            let language = String::from_utf8_lossy(language);
            let own = self.request.rules.has(&language);
            json!({
                "language": language, "name": name_of(&language), "documents": of.all.documents, "bytes": of.all.bytes,
                "kept": of.kept,
                "words": match Cut::of(&language) { Cut::Spaced => "words", Cut::Characters => "characters" },
                "thresholds": if own { self.request.thresholds.as_str() } else { "default" },
                "reasons": self.named(&of.reasons),
            })
        });
        told.collect()
    }

    fn reasons(&self, counts: &Counts, examples: &[BTreeSet<(u64, u32)>], excerpts: &Excerpts) -> Result<Vec<Value>> {
        let mut told = Vec::new();
        for (number, (reason, count)) in self.judge.reasons.iter().zip(&counts.of_reason).enumerate() {
            if count.documents == 0 {
                continue;
            }
            let by_source = counts.sources.iter().filter(|(_, of)| of.reasons[number] > 0);
            let by_source: BTreeMap<&str, u64> = by_source
                .map(|(source, of)| (self.tags.schema.sources[*source as usize].as_str(), of.reasons[number]))
                .collect();
            let by_language = counts.languages.iter().filter(|(_, of)| of.reasons[number] > 0);
            let by_language: BTreeMap<String, u64> = by_language
                .map(|(language, of)| (String::from_utf8_lossy(language).into(), of.reasons[number]))
                .collect();
            let mut shown = Vec::new();
            for (_, document) in &examples[number] {
                let mut records = self.tags.records_from(*document)?;
                let tag = records.take()?;
                let value = self.judge.first(tag).and_then(|(_, value)| value);
                let (id, text) = excerpts.get(document).cloned().unwrap_or_default();
                shown.push(json!({
                    "id": id, "source": self.tags.schema.sources[tag.source as usize], "number": tag.number,
                    "language": tag.language(), "value": value, "text": first(&text, EXAMPLE),
                }));
            }
            told.push(json!({
                "reason": reason.name, "key": reason.key, "family": reason.stage, "comparison": reason.comparison,
                "threshold": reason.threshold, "documents": count.documents, "bytes": count.bytes,
                "share": count.documents as f64 / counts.all.documents.max(1) as f64,
                "sources": by_source, "languages": by_language, "examples": shown,
            }));
        }
        Ok(told)
    }
}

fn name_of(language: &str) -> String {
    Language::parse(language).map_or_else(|| language.into(), |known| known.name().into())
}

/// Reads how documents begin, in order. A report shows no address of anybody, whatever is written beside it.
fn excerpts(walk: &mut impl Walk, mut wanted: Vec<u32>) -> Result<Excerpts> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = Excerpts::new();
    let (mut addresses, mut masked) = (Vec::new(), String::new());
    for document in wanted {
        let (fields, text) = walk.document(document)?;
        let id = id_of(fields).and_then(|id| serde_json::from_str(id).ok()).unwrap_or_default();
        let text = text.unwrap_or_default();
        private::find(text, &mut addresses);
        private::mask(text, &addresses, &mut masked); // before it is cut: half an address would stay
        found.insert(document, (id, first(&masked, EXAMPLE).into()));
    }
    Ok(found)
}

fn first(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

//! How the documents' measures are spread, and which of them a rule removed.

use std::collections::BTreeMap;

use serde_json::{json, Value};

use crate::clean::record::Tag;
use crate::clean::run::judge::{Judge, Number};
use crate::clean::run::request::Request;
use crate::clean::run::tags::Tags;
use crate::error::Result;

/// Bins of a histogram.
const BINS: usize = 40;
/// Documents from which the range of a measure is told.
const SAMPLE: u32 = 20_000;

/// One for each reason that a threshold decides.
pub struct Histograms(Vec<Histogram>);

struct Histogram {
    reason: Number,
    measure: usize,
    threshold: f64,
    /// Whose documents are counted, where only languages have a threshold: the commonest of these.
    language: Option<[u8; 8]>,
    edges: Vec<f64>,
    counts: [u64; BINS],
    removed: [u64; BINS],
}

impl Histograms {
    pub fn new(tags: &Tags, judge: &Judge, request: &Request) -> Result<Self> {
        let mut samples: Vec<([u8; 8], Vec<f64>)> = Vec::new();
        let every = tags.schema.documents / SAMPLE + 1;
        tags.each(&mut |document, tag| {
            if document % every == 0 {
                samples.push((tag.language, tag.measures.clone()));
            }
            Ok(())
        })?;
        let commonest = commonest(&samples);
        let mut histograms = Vec::new();
        for (number, reason) in judge.reasons.iter().enumerate() {
            let Some(measure) = reason.measure else { continue };
            let own =
                || commonest.iter().find_map(|language| Some((own(request, *language, &reason.key)?, Some(*language))));
            let Some((threshold, language)) = reason.threshold.map(|line| (line, None)).or_else(own) else { continue };
            let counted = samples.iter().filter(|(of, _)| language.is_none_or(|language| language == *of));
            let edges = edges(counted.map(|(_, values)| values[measure]), threshold);
            let (reason, counts, removed) = (number as Number, [0; BINS], [0; BINS]);
            histograms.push(Histogram { reason, measure, threshold, language, edges, counts, removed });
        }
        Ok(Self(histograms))
    }

    pub fn add(&mut self, tag: &Tag, verdict: Number) {
        for histogram in &mut self.0 {
            let value = tag.measures[histogram.measure];
            if value.is_nan() || histogram.language.is_some_and(|language| language != tag.language) {
                continue;
            }
            // what lies beyond is in the first or the last
            let bin = histogram.edges.partition_point(|edge| *edge <= value).saturating_sub(1).min(BINS - 1);
            histogram.counts[bin] += 1;
            histogram.removed[bin] += u64::from(verdict == histogram.reason);
        }
    }

    pub fn to_json(&self, judge: &Judge) -> Value {
        let told = self.0.iter().map(|histogram| {
            let reason = &judge.reasons[histogram.reason as usize];
            json!({
                "measure": judge.measure_name(histogram.measure), "key": reason.key, "reason": reason.name,
                "comparison": reason.comparison, "threshold": histogram.threshold, "edges": histogram.edges,
                "language": histogram.language.map(|language| String::from_utf8_lossy(&language).into_owned()),
                "counts": histogram.counts.as_slice(), "removed": histogram.removed.as_slice(),
            })
        });
        told.collect()
    }
}

/// The languages of a sample, the commonest first.
fn commonest(samples: &[([u8; 8], Vec<f64>)]) -> Vec<[u8; 8]> {
    let mut counts: BTreeMap<[u8; 8], usize> = BTreeMap::new();
    for (language, _) in samples {
        *counts.entry(*language).or_default() += 1;
    }
    let mut languages: Vec<[u8; 8]> = counts.keys().copied().collect();
    languages.sort_by_key(|language| std::cmp::Reverse(counts[language]));
    languages
}

/// The threshold that a language has of its own.
fn own(request: &Request, language: [u8; 8], key: &str) -> Option<f64> {
    request.rules.languages.get(std::str::from_utf8(&language).ok()?)?.get(key)?.as_f64()
}

/// The borders of the bins: from the first to the last hundredth of the values, with the threshold as one of them and room
/// beyond it; in equal ratios where the values are spread over several orders of magnitude.
fn edges(values: impl Iterator<Item = f64>, threshold: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
    let low = at(0.01).unwrap_or(threshold).min(threshold);
    let high = at(0.99).or(sorted.last().copied()).unwrap_or(threshold).max(threshold);
    if low >= 1.0 && high / low > 100.0 {
        return even(low.ln(), high.ln(), threshold.ln()).into_iter().map(f64::exp).collect();
    }
    even(low, high, threshold)
}

/// Borders in equal distances, of which `threshold` is one.
fn even(low: f64, high: f64, threshold: f64) -> Vec<f64> {
    let wide = if high > low { high - low } else { 1.0 };
    let step = wide / (BINS - 4) as f64;
    // what lies beyond has two bins at least, and no measure is below 0
    let before = if low < threshold { (threshold - low) / step } else { (threshold / step).min(2.0) }.ceil();
    (0..=BINS).map(|number| (threshold + (number as f64 - before) * step).max(0.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_a_border_with_room_on_both_sides() {
        let spread = [
            (vec![0.0, 0.01, 0.02], 0.3),
            (vec![0.5, 0.6], 0.1),
            (vec![0.5, 0.6], 0.001),
            ((1..5000).map(f64::from).collect(), 50.0),
            (vec![], 3.0),
            (vec![7.0], 7.0),
        ];
        for (values, threshold) in spread {
            let edges = edges(values.iter().copied(), threshold);
            assert_eq!(edges.len(), BINS + 1);
            assert!(edges.windows(2).all(|pair| pair[0] < pair[1]));
            let place = edges.iter().position(|edge| (edge - threshold).abs() <= threshold * 1e-9).unwrap();
            assert!(place > 0 && place + 1 < BINS, "{place} of {edges:?}");
            let inside = |value: &f64| edges[0] <= *value + 1e-9 && *value <= edges[BINS] * (1.0 + 1e-9);
            assert!(values.len() > 100 || values.iter().all(inside), "{edges:?}");
        }
        assert!(edges([0.0, 0.5].into_iter(), 0.0)[0].abs() < f64::EPSILON);
    }
}

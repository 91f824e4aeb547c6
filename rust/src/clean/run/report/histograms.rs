//! How the documents' measures are spread, and which of them a rule removed.

use serde_json::{json, Value};

use crate::clean::record::Tag;
use crate::clean::run::judge::{Judge, Number};
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
    edges: Vec<f64>,
    counts: [u64; BINS],
    removed: [u64; BINS],
}

impl Histograms {
    pub fn new(tags: &Tags, judge: &Judge) -> Result<Self> {
        let mut samples = vec![Vec::new(); tags.schema.measures.len()];
        let every = tags.schema.documents / SAMPLE + 1;
        tags.each(&mut |document, tag| {
            if document % every == 0 {
                samples.iter_mut().zip(&tag.measures).for_each(|(sample, value)| sample.push(*value));
            }
            Ok(())
        })?;
        let mut histograms = Vec::new();
        for (number, reason) in judge.reasons.iter().enumerate() {
            let (Some(measure), Some(threshold)) = (reason.measure, reason.threshold) else { continue };
            let edges = edges(&samples[measure], threshold);
            let (counts, removed) = ([0; BINS], [0; BINS]);
            histograms.push(Histogram { reason: number as Number, measure, edges, counts, removed });
        }
        Ok(Self(histograms))
    }

    pub fn add(&mut self, tag: &Tag, verdict: Number) {
        for histogram in &mut self.0 {
            let value = tag.measures[histogram.measure];
            if value.is_nan() {
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
                "comparison": reason.comparison, "threshold": reason.threshold, "edges": histogram.edges,
                "counts": histogram.counts.as_slice(), "removed": histogram.removed.as_slice(),
            })
        });
        told.collect()
    }
}

/// The borders of the bins: from the first to the last hundredth of the values, with the threshold among them; in equal
/// ratios where the values are spread over several orders of magnitude.
fn edges(values: &[f64], threshold: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied();
    let low = at(0.01).unwrap_or(threshold).min(threshold);
    let high = at(0.99).or(sorted.last().copied()).unwrap_or(threshold).max(threshold);
    let high = if high > low { high } else { low + 1.0 };
    let step = |number: usize| number as f64 / BINS as f64;
    if low >= 1.0 && high / low > 100.0 {
        return (0..=BINS).map(|number| low * (high / low).powf(step(number))).collect();
    }
    (0..=BINS).map(|number| low + (high - low) * step(number)).collect()
}

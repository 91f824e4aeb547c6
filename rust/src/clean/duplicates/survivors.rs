//! Which document of a cluster stays.

use super::ALONE;

/// Whether each document is removed as a duplicate: of the documents of a cluster that pass one stays, the one of the
/// greatest value and the first among equals. A missing value is NaN, which is less than any.
pub fn survivors(clusters: &[u32], passes: &dyn Fn(u32) -> bool, value: &dyn Fn(u32) -> f64) -> Vec<bool> {
    let mut best = vec![ALONE; clusters.len()];
    let members = |visit: &mut dyn FnMut(u32, usize)| {
        for (document, &cluster) in (0..).zip(clusters) {
            if cluster != ALONE && passes(document) {
                visit(document, cluster as usize);
            }
        }
    };
    members(&mut |document, cluster| {
        let so_far = best[cluster];
        if so_far == ALONE || is_better(value(document), value(so_far)) {
            best[cluster] = document;
        }
    });
    let mut removed = vec![false; clusters.len()];
    members(&mut |document, cluster| removed[document as usize] = best[cluster] != document);
    removed
}

fn is_better(value: f64, than: f64) -> bool {
    value > than || (than.is_nan() && !value.is_nan())
}

/// How many documents each document's cluster has; 1 where it is alone.
pub fn sizes(clusters: &[u32]) -> Vec<u32> {
    let mut counts = vec![0u32; clusters.len()];
    for &cluster in clusters.iter().filter(|cluster| **cluster != ALONE) {
        counts[cluster as usize] += 1;
    }
    clusters.iter().map(|&cluster| if cluster == ALONE { 1 } else { counts[cluster as usize] }).collect()
}

/// How often a document that stands for a cluster of this size is written where it is to be rehydrated: FineWeb-2's
/// weights. A moderate number of copies speaks for a page, and a thousand of them against it.
pub fn rehydrated(size: u32) -> u32 {
    match size {
        2 => 2,
        3..=4 => 3,
        5..=99 => 5,
        100..=999 => 8,
        0..=1 | 1000.. => 1,
    }
}

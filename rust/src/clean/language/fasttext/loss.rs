//! What the output matrix's numbers mean: one choice among all labels, a tree of choices, or a choice for each label.

use super::matrix::Matrix;
use super::{Fault, Scratch};

pub(super) enum Loss {
    Softmax,
    /// Each label on its own: one-vs-all, and negative sampling.
    Each,
    Tree(Tree),
}

/// Logarithms as fastText takes them: never of nothing.
fn log(value: f64) -> f32 {
    (value + 1e-5).ln() as f32
}

impl Loss {
    pub fn new(number: i32, label_counts: &[i64]) -> Result<Self, Fault> {
        match number {
            1 => Tree::new(label_counts).map(Loss::Tree),
            2 | 4 => Ok(Loss::Each),
            3 => Ok(Loss::Softmax),
            _ => Err(Fault::Damaged("its loss is none that fastText has")),
        }
    }

    /// The `k` best labels by falling score, whose exponentials are probabilities, into `scratch.best`.
    pub fn best(&self, file: &[u8], output: &Matrix, k: usize, scratch: &mut Scratch) {
        scratch.best.clear();
        match self {
            Loss::Tree(tree) => tree.best(file, output, k, scratch),
            Loss::Softmax | Loss::Each => {
                let Scratch { hidden, scores, .. } = &mut *scratch;
                scores.clear();
                scores.extend((0..output.rows).map(|row| output.dot_row(file, row, hidden)));
                if matches!(self, Loss::Softmax) {
                    softmax(scores);
                } else {
                    for score in &mut *scores {
                        *score = sigmoid(*score);
                    }
                }
                for label in 0..scratch.scores.len() {
                    scratch.offer(log(f64::from(scratch.scores[label])), label as u32, k);
                }
            }
        }
    }
}

fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in &mut *scores {
        *score = (*score - most).exp();
        sum += *score;
    }
    for score in scores {
        *score /= sum;
    }
}

/// fastText's, which comes from a table of 512 steps between -8 and 8.
fn sigmoid(value: f32) -> f32 {
    if value < -8.0 {
        0.0
    } else if value > 8.0 {
        1.0
    } else {
        let step = ((value + 8.0) * 512.0 / 8.0 / 2.0) as i64;
        let at = (step * 2 * 8) as f32 / 512.0 - 8.0;
        (1.0 / (1.0 + f64::from((-at).exp()))) as f32
    }
}

/// Huffman's tree over the labels: those that were often are near the root.
pub(super) struct Tree {
    /// The two children of each inner node; nodes below `labels` are leaves.
    children: Vec<[u32; 2]>,
    labels: usize,
}

impl Tree {
    /// The tree that fastText builds from the counts, which it has sorted, most first.
    fn new(counts: &[i64]) -> Result<Self, Fault> {
        let labels = counts.len();
        let mut sums = vec![1_000_000_000_000_000_i64; 2 * labels - 1];
        sums[..labels].copy_from_slice(counts);
        let mut children = Vec::with_capacity(labels - 1);
        let (mut leaves, mut inner) = (labels, labels);
        for made in labels..2 * labels - 1 {
            let mut pair = [0; 2];
            for child in &mut pair {
                if leaves > 0 && (inner >= sums.len() || sums[leaves - 1] < sums[inner]) {
                    leaves -= 1;
                    *child = leaves as u32;
                } else {
                    *child = inner as u32;
                    inner += 1;
                }
            }
            if pair.iter().any(|child| *child as usize >= made) {
                return Err(Fault::Damaged("no tree can be built from how often its labels were seen"));
            }
            sums[made] = sums[pair[0] as usize].saturating_add(sums[pair[1] as usize]);
            children.push(pair);
        }
        Ok(Self { children, labels })
    }

    fn best(&self, file: &[u8], output: &Matrix, k: usize, scratch: &mut Scratch) {
        scratch.nodes.clear();
        scratch.nodes.push((2 * self.labels as u32 - 2, 0.0));
        while let Some((node, score)) = scratch.nodes.pop() {
            if score < log(0.0) || scratch.is_beaten(score, k) {
                continue;
            }
            let Some(inner) = (node as usize).checked_sub(self.labels) else {
                scratch.offer(score, node, k);
                continue;
            };
            let right = 1.0 / (1.0 + f64::from((-output.dot_row(file, inner, &scratch.hidden)).exp()));
            let right = right as f32;
            let [left_node, right_node] = self.children[inner];
            scratch.nodes.push((right_node, score + log(f64::from(right))));
            scratch.nodes.push((left_node, score + log(1.0 - f64::from(right))));
        }
    }
}

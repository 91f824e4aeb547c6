//! One key over another, as a run went in the end: lines that a later one took back are left out.

use super::table::Table;

/// Points in the order of their lines.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Curve {
    pub x: Vec<f64>,
    pub y: Vec<f64>,
}

/// Which lines stand, and where a run went back: the steps that it went on with.
pub(super) struct Standing {
    rows: Vec<u32>,
    steps: Vec<f64>,
    stands: Vec<bool>,
    pub cuts: Vec<f64>,
}

impl Standing {
    pub fn of(table: &Table) -> Self {
        let (rows, steps) = table.column("step").map(|steps| (steps.rows(), steps.values())).unwrap_or_default();
        let (mut stands, mut cuts, mut bound) = (vec![true; steps.len()], Vec::new(), f64::INFINITY);
        for at in (0..steps.len()).rev() {
            if steps.get(at + 1).is_some_and(|&next| next < steps[at]) {
                cuts.push(steps[at + 1]);
                bound = bound.min(steps[at + 1]);
            }
            stands[at] = steps[at] < bound;
        }
        cuts.reverse();
        Self { rows, steps, stands, cuts }
    }

    /// The points of a key; with `gone`, those that were taken back instead.
    pub fn curve(&self, table: &Table, key: &str, over: &str, gone: bool) -> Curve {
        let Some(column) = table.column(key) else { return Curve::default() };
        let (xs, x_rows) = match table.column(over) {
            Some(_) if over == "step" => (self.steps.clone(), self.rows.clone()),
            Some(x) => (x.values(), x.rows()),
            None => return Curve::default(),
        };
        let (values, rows) = (column.values(), column.rows());
        let (mut curve, mut at, mut line) = (Curve::default(), 0, 0);
        for (row, y) in rows.into_iter().zip(values) {
            at += x_rows[at..].iter().take_while(|&&other| other < row).count();
            line += self.rows[line..].iter().take_while(|&&other| other < row).count();
            let stands = self.rows.get(line) != Some(&row) || self.stands[line];
            if x_rows.get(at) == Some(&row) && xs[at].is_finite() && stands != gone {
                curve.x.push(xs[at]);
                curve.y.push(y);
            }
        }
        curve
    }
}

impl Curve {
    /// The moving average that forgets by `keep` a point, free of its start's bias; it passes over what is not finite.
    #[must_use]
    pub fn smoothed(mut self, keep: f64) -> Self {
        let (mut sum, mut weight) = (0.0, 0.0);
        for y in &mut self.y {
            if y.is_finite() {
                sum = keep * sum + (1.0 - keep) * *y;
                weight = keep * weight + (1.0 - keep);
                *y = sum / weight;
            }
        }
        self
    }

    /// The least and the greatest x; None of nothing.
    pub fn range(&self) -> Option<(f64, f64)> {
        let least = self.x.iter().copied().reduce(f64::min)?;
        Some((least, self.x.iter().copied().reduce(f64::max)?))
    }

    /// The sum of y in each of so many equal parts of a range.
    pub fn sums(&self, parts: usize, low: f64, high: f64) -> Vec<f64> {
        let mut sums = vec![0.0; parts];
        for (&x, &y) in self.x.iter().zip(&self.y) {
            let part = if high > low { ((x - low) / (high - low) * parts as f64) as usize } else { 0 };
            if let Some(sum) = sums.get_mut(part.min(parts.saturating_sub(1))).filter(|_| y.is_finite()) {
                *sum += y;
            }
        }
        sums
    }

    /// y at a place, straight between the two finite points beside it; NaN outside of them.
    pub fn at(&self, place: f64) -> f64 {
        let points = || self.x.iter().copied().zip(self.y.iter().copied()).filter(|(_, y)| y.is_finite());
        let before = points().rfind(|(x, _)| *x <= place);
        let after = points().find(|(x, _)| *x >= place);
        match (before, after) {
            (Some((left, low)), Some((right, high))) if right > left => {
                low + (high - low) * (place - left) / (right - left)
            }
            (Some((_, y)), Some(_)) => y,
            _ => f64::NAN,
        }
    }
}

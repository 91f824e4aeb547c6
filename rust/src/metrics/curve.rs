//! One key over another, as a run went in the end: lines that a later one took back are left out.

use super::column::Column;
use super::pixels::Drawing;
use super::points::each_word;
use super::table::Table;

/// Points in the order of their lines.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Curve {
    pub x: Vec<f64>,
    pub y: Vec<f64>,
}

/// How a curve is drawn: at so many columns of pixels, from `low` to `high` (its own ends where None), as the moving
/// average that keeps `smooth` of itself a point.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sight {
    pub columns: usize,
    pub low: Option<f64>,
    pub high: Option<f64>,
    pub smooth: f64,
}

/// Which lines were taken back, and where a run went back: the steps that it went on with.
#[derive(Default)]
pub(super) struct Standing {
    gone: Vec<u64>,
    pub cuts: Vec<f64>,
}

/// The points of a key over another: those that stand, or those that were taken back.
pub(super) struct Points<'a> {
    x: &'a Column,
    y: &'a Column,
    standing: &'a Standing,
    gone: bool,
}

impl Standing {
    pub fn of(table: &Table) -> Self {
        let Some(steps) = table.column("step").filter(|steps| !grows(steps)) else { return Self::default() };
        let (rows, steps) = (steps.rows(), steps.values());
        let (mut gone, mut cuts, mut bound) = (vec![0; table.lines as usize / 64 + 1], Vec::new(), f64::INFINITY);
        for at in (0..steps.len()).rev() {
            if steps.get(at + 1).is_some_and(|&next| next < steps[at]) {
                cuts.push(steps[at + 1]);
                bound = bound.min(steps[at + 1]);
            }
            if steps[at] >= bound {
                gone[rows[at] as usize / 64] |= 1 << (rows[at] % 64);
            }
        }
        cuts.reverse();
        Self { gone, cuts }
    }

    /// The points of a key over another; None where one of them was never written.
    pub fn points<'a>(&'a self, table: &'a Table, key: &str, over: &str, gone: bool) -> Option<Points<'a>> {
        Some(Points { x: table.column(over)?, y: table.column(key)?, standing: self, gone })
    }
}

/// Whether no number is below the one before.
fn grows(column: &Column) -> bool {
    let (mut last, mut grows) = (f64::NEG_INFINITY, true);
    each_word(
        column,
        column,
        |_| u64::MAX,
        |xs, _| {
            for &x in xs {
                grows &= last <= x;
                last = x;
            }
        },
    );
    grows
}

impl Points<'_> {
    fn each_word(&self, take: impl FnMut(&[f64], &[f64])) {
        let taken_back = |word: usize| self.standing.gone.get(word).copied().unwrap_or_default();
        let chosen = |word| if self.gone { taken_back(word) } else { !taken_back(word) };
        each_word(self.x, self.y, chosen, take);
    }

    pub fn curve(&self) -> Curve {
        let mut curve = Curve::default();
        self.each_word(|xs, ys| {
            curve.x.extend(xs);
            curve.y.extend(ys);
        });
        curve
    }

    /// The least and the greatest x; None of nothing.
    pub fn range(&self) -> Option<(f64, f64)> {
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        self.each_word(|xs, _| {
            least = xs.iter().copied().fold(least, f64::min);
            greatest = xs.iter().copied().fold(greatest, f64::max);
        });
        (least <= greatest).then_some((least, greatest))
    }

    pub fn drawn(&self, sight: Sight) -> Curve {
        let Some((least, greatest)) = self.range() else { return Curve::default() };
        let mut drawing = Drawing::new(sight.columns, sight.low.unwrap_or(least), sight.high.unwrap_or(greatest));
        let mut average = Average::new(sight.smooth);
        self.each_word(|xs, ys| {
            for (&x, &y) in xs.iter().zip(ys) {
                drawing.take(x, if sight.smooth > 0.0 { average.after(y) } else { y });
            }
        });
        let (x, y) = drawing.points().into_iter().map(|point| (point.x, point.y)).unzip();
        Curve { x, y }
    }

    /// The sum of y in each of so many equal parts of a range of x.
    pub fn sums(&self, parts: usize, low: f64, high: f64) -> Vec<f64> {
        let mut sums = vec![0.0; parts];
        self.each_word(|xs, ys| {
            for (&x, &y) in xs.iter().zip(ys).filter(|(_, y)| y.is_finite()) {
                let part = if high > low { ((x - low) / (high - low) * parts as f64) as usize } else { 0 };
                if let Some(sum) = sums.get_mut(part.min(parts.saturating_sub(1))) {
                    *sum += y;
                }
            }
        });
        sums
    }
}

/// The moving average that forgets by `keep` a point, free of its start's bias; it passes over what is not finite.
struct Average {
    keep: f64,
    sum: f64,
    weight: f64,
}

impl Average {
    fn new(keep: f64) -> Self {
        Self { keep, sum: 0.0, weight: 0.0 }
    }

    fn after(&mut self, y: f64) -> f64 {
        if !y.is_finite() {
            return y;
        }
        self.sum = self.keep * self.sum + (1.0 - self.keep) * y;
        self.weight = self.keep * self.weight + (1.0 - self.keep);
        self.sum / self.weight
    }
}

impl Curve {
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

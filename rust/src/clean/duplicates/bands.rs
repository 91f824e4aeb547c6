//! How many numbers a sketch has, and how they are grouped.

/// A pair at the threshold is missed this seldom.
const MISSED: f64 = 0.001;
/// More bands find no more and cost what each costs: 16 bytes a document on disk, and sorting.
const FEW: usize = 20;
const MANY: usize = 32;
const MOST_ROWS: usize = 16;

/// A sketch of `bands * rows` numbers. A pair whose Jaccard is s shares a band with 1 - (1 - s^rows)^bands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bands {
    pub bands: usize,
    pub rows: usize,
}

impl Bands {
    /// The most rows, so the fewest pairs that share a band for nothing, among those that miss one pair in a thousand
    /// at the threshold: 18 bands of 5 rows for 0.8.
    pub fn of(threshold: f64) -> Self {
        let within =
            |most: usize| (1..=MOST_ROWS).rev().map(|rows| Self::with(threshold, rows)).find(|it| it.bands <= most);
        let few = within(FEW).filter(|it| it.rows > 1);
        few.or_else(|| within(MANY)).unwrap_or(Self { bands: MANY, rows: 1 })
    }

    fn with(threshold: f64, rows: usize) -> Self {
        let missed_by_one = 1.0 - threshold.powi(rows as i32);
        Self { bands: (MISSED.ln() / missed_by_one.ln()).ceil().max(1.0) as usize, rows }
    }

    pub fn numbers(self) -> usize {
        self.bands * self.rows
    }

    /// How likely a pair of this Jaccard shares a band.
    #[cfg(test)]
    pub fn found(self, jaccard: f64) -> f64 {
        1.0 - (1.0 - jaccard.powi(self.rows as i32)).powi(self.bands as i32)
    }
}

//! M4: of the points of each column of pixels the first, the lowest, the highest and the last. A line through these
//! is, at that width, the line through all of them (Jugel and others, VLDB 2014).

/// The numbers of the points that are drawn, in order. Where a column has points that are not finite, the first and the
/// last of these are among them: a line is broken there.
pub fn pixels(x: &[f64], y: &[f64], columns: usize, low: f64, high: f64) -> Vec<usize> {
    let scale = if high > low { columns as f64 / (high - low) } else { 0.0 };
    let mut drawn = Vec::new();
    let mut held = Extremes::default();
    let mut current = None;
    for (number, (&x, &y)) in x.iter().zip(y).enumerate() {
        if !(low..=high).contains(&x) {
            continue;
        }
        let column = (((x - low) * scale) as usize).min(columns.saturating_sub(1));
        if current != Some(column) {
            held.give(&mut drawn);
            current = Some(column);
        }
        held.take(number, y);
    }
    held.give(&mut drawn);
    drawn
}

#[derive(Default)]
struct Extremes {
    finite: Option<[usize; 2]>,
    lowest: (usize, f64),
    highest: (usize, f64),
    broken: Option<[usize; 2]>,
}

impl Extremes {
    fn take(&mut self, number: usize, y: f64) {
        if !y.is_finite() {
            self.broken.get_or_insert([number; 2])[1] = number;
            return;
        }
        if self.finite.is_none() {
            (self.lowest, self.highest) = ((number, y), (number, y));
        }
        self.finite.get_or_insert([number; 2])[1] = number;
        if y < self.lowest.1 {
            self.lowest = (number, y);
        }
        if y > self.highest.1 {
            self.highest = (number, y);
        }
    }

    fn give(&mut self, drawn: &mut Vec<usize>) {
        let mut numbers: Vec<usize> = self.finite.iter().chain(&self.broken).flatten().copied().collect();
        if self.finite.is_some() {
            numbers.extend([self.lowest.0, self.highest.0]);
        }
        numbers.sort_unstable();
        numbers.dedup();
        drawn.extend(numbers);
        *self = Self::default();
    }
}

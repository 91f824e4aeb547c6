//! M4: of the points of each column of pixels the first, the lowest, the highest and the last. A line through these
//! is, at that width, the line through all of them (Jugel and others, VLDB 2014).

/// The numbers of the points that are drawn, in order.
pub fn pixels(x: &[f64], y: &[f64], columns: usize, low: f64, high: f64) -> Vec<usize> {
    let mut drawing = Drawing::new(columns, low, high);
    x.iter().zip(y).for_each(|(&x, &y)| drawing.take(x, y));
    drawing.points().into_iter().map(|point| point.number).collect()
}

#[derive(Clone, Copy, Default)]
pub(super) struct Point {
    number: usize,
    pub x: f64,
    pub y: f64,
}

/// What is drawn of points that come one by one. Where a column has points that are not finite, the first and the last
/// of these are among them: a line is broken there.
pub(super) struct Drawing {
    columns: usize,
    low: f64,
    high: f64,
    scale: f64,
    drawn: Vec<Point>,
    held: Extremes,
    current: Option<usize>,
    count: usize,
}

impl Drawing {
    pub fn new(columns: usize, low: f64, high: f64) -> Self {
        let scale = if high > low { columns as f64 / (high - low) } else { 0.0 };
        Self { columns, low, high, scale, drawn: Vec::new(), held: Extremes::default(), current: None, count: 0 }
    }

    #[inline]
    pub fn take(&mut self, x: f64, y: f64) {
        let point = Point { number: self.count, x, y };
        self.count += 1;
        if !(self.low..=self.high).contains(&x) {
            return;
        }
        let column = (((x - self.low) * self.scale) as usize).min(self.columns.saturating_sub(1));
        if self.current != Some(column) {
            self.held.give(&mut self.drawn);
            self.current = Some(column);
        }
        self.held.take(point);
    }

    pub fn points(mut self) -> Vec<Point> {
        self.held.give(&mut self.drawn);
        self.drawn
    }
}

#[derive(Default)]
struct Extremes {
    finite: Option<[Point; 2]>,
    lowest: Point,
    highest: Point,
    broken: Option<[Point; 2]>,
}

impl Extremes {
    fn take(&mut self, point: Point) {
        if !point.y.is_finite() {
            self.broken.get_or_insert([point; 2])[1] = point;
            return;
        }
        let Some(finite) = &mut self.finite else {
            (self.finite, self.lowest, self.highest) = (Some([point; 2]), point, point);
            return;
        };
        finite[1] = point;
        if point.y < self.lowest.y {
            self.lowest = point;
        }
        if point.y > self.highest.y {
            self.highest = point;
        }
    }

    fn give(&mut self, drawn: &mut Vec<Point>) {
        let mut points: Vec<Point> = self.finite.iter().chain(&self.broken).flatten().copied().collect();
        if self.finite.is_some() {
            points.extend([self.lowest, self.highest]);
        }
        points.sort_unstable_by_key(|point| point.number);
        points.dedup_by_key(|point| point.number);
        drawn.extend(points);
        *self = Self::default();
    }
}

//! The numbers of one key: which lines have one, and what it is.

use std::borrow::Cow;
use std::sync::Arc;

use memmap2::Mmap;

use super::width::Place;

/// Numbers by line; NaN where the line says null or no number.
pub(super) struct Column {
    pub key: String,
    present: Vec<u64>,
    values: Values,
    last: Option<u32>,
}

enum Values {
    Held(Vec<f64>),
    /// In the index, as narrow as nothing is lost.
    Mapped(Arc<Mmap>, Place),
}

impl Column {
    pub fn new(key: String) -> Self {
        Self { key, present: Vec::new(), values: Values::Held(Vec::new()), last: None }
    }

    pub fn mapped(key: String, present: Vec<u64>, map: Arc<Mmap>, place: Place) -> Self {
        Self { key, present, values: Values::Mapped(map, place), last: None }
    }

    /// Takes the number of a line; the last one counts where the line has several.
    pub fn put(&mut self, row: u32, value: f64) {
        let Values::Held(values) = &mut self.values else {
            self.values = Values::Held(self.values().into_owned());
            return self.put(row, value);
        };
        if self.last == Some(row) {
            if let Some(last) = values.last_mut() {
                *last = value;
            }
            return;
        }
        let (word, bit) = (row as usize / 64, row % 64);
        if self.present.len() <= word {
            self.present.resize(word + 1, 0);
        }
        self.present[word] |= 1 << bit;
        values.push(value);
        self.last = Some(row);
    }

    /// A bit for each line that has a number, 64 lines a word.
    pub fn present(&self) -> &[u64] {
        &self.present
    }

    /// The lines that have a number, in order.
    pub fn rows(&self) -> Vec<u32> {
        let bits = self.present.iter().enumerate().flat_map(|(word, &bits)| ones(bits).map(move |bit| (word, bit)));
        bits.map(|(word, bit)| word as u32 * 64 + bit).collect()
    }

    pub fn values(&self) -> Cow<'_, [f64]> {
        match &self.values {
            Values::Held(values) => Cow::Borrowed(values),
            Values::Mapped(_, place) => {
                let mut values = vec![0.0; place.count];
                self.read(0, &mut values);
                Cow::Owned(values)
            }
        }
    }

    /// Copies as many numbers as are asked for, from one on.
    pub fn read(&self, from: usize, into: &mut [f64]) {
        match &self.values {
            Values::Held(values) => into.copy_from_slice(&values[from..from + into.len()]),
            Values::Mapped(map, place) => {
                let (start, wide) = (place.values, place.width.bytes());
                place.width.widen(&map[start + from * wide..start + (from + into.len()) * wide], into);
            }
        }
    }
}

/// The places of the bits that are set, the lowest first.
pub(super) fn ones(bits: u64) -> impl Iterator<Item = u32> {
    let next = |&bits: &u64| Some(bits & bits.wrapping_sub(1));
    std::iter::successors(Some(bits), next).take_while(|&bits| bits != 0).map(u64::trailing_zeros)
}

//! The numbers of one key: which lines have one, and what it is.

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
            self.values = Values::Held(self.values());
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

    pub fn len(&self) -> usize {
        match &self.values {
            Values::Held(values) => values.len(),
            Values::Mapped(_, place) => place.count,
        }
    }

    pub fn present(&self) -> &[u64] {
        &self.present
    }

    /// The lines that have a number, in order.
    pub fn rows(&self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.len());
        for (word, &bits) in self.present.iter().enumerate() {
            let mut bits = bits;
            while bits != 0 {
                rows.push(word as u32 * 64 + bits.trailing_zeros());
                bits &= bits - 1;
            }
        }
        rows
    }

    pub fn values(&self) -> Vec<f64> {
        match &self.values {
            Values::Held(values) => values.clone(),
            Values::Mapped(map, place) => {
                let bytes = map.get(place.values..place.values + place.count * place.width.bytes());
                bytes.map(|bytes| place.width.widened(bytes)).unwrap_or_default()
            }
        }
    }
}

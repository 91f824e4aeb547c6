//! A text's hash and its sketch.

use xxhash_rust::xxh3::xxh3_128;

use super::bands::Bands;
use super::fineweb::FineWeb;
use super::normal::normalise;
use super::settings::{Near, Settings};
use super::shingles::{units_of, Shingles};
use super::units::fold;
use crate::clean::words::Cut;

/// What a sketch begins with.
pub(super) const NOTHING: u8 = 0;
pub(super) const SPACED: u8 = 1;
pub(super) const CHARACTERS: u8 = 2;

/// A number of a sketch that no shingle has filled.
const EMPTY: u32 = u32::MAX;

/// Makes hashes and sketches; one a thread.
///
/// A sketch is a byte that says how the text was cut, and hashes of eight bytes, little-endian: of the whole set and
/// one a band, or one a bucket of `FineWeb`'s.
pub struct Sketcher {
    kind: Kind,
    shingle: Option<usize>,
    shingles: Shingles,
    normal: Vec<u8>,
}

enum Kind {
    Off,
    FineWeb(Box<FineWeb>),
    Set(SetSketcher),
}

impl Sketcher {
    pub fn new(settings: &Settings) -> Self {
        let kind = match settings.near {
            Near::Off => Kind::Off,
            Near::FineWeb => Kind::FineWeb(Box::new(FineWeb::new(settings.hash, settings.shingle))),
            Near::Jaccard(threshold) => Kind::Set(SetSketcher::new(threshold)),
        };
        Self { kind, shingle: settings.shingle, shingles: Shingles::default(), normal: Vec::new() }
    }

    /// The XXH3-128 of a text whose every run of white space is one space, none at its ends.
    pub fn exact(&mut self, text: &str) -> u128 {
        normalise(text, &mut self.normal);
        xxh3_128(&self.normal)
    }

    /// Bytes of every sketch.
    pub fn sketch_bytes(&self) -> usize {
        match &self.kind {
            Kind::Off => 0,
            Kind::FineWeb(fineweb) => 1 + 8 * fineweb.buckets(),
            Kind::Set(set) => set.sketch_bytes(),
        }
    }

    /// Appends the sketch of a text.
    pub fn sketch(&mut self, text: &str, cut: Cut, sketch: &mut Vec<u8>) {
        match &mut self.kind {
            Kind::Off => {}
            Kind::FineWeb(fineweb) => fineweb.sketch(text, sketch),
            Kind::Set(set) => {
                set.begin();
                let length = self.shingle.unwrap_or(units_of(cut));
                self.shingles.each(text, length, |shingle| set.add(shingle));
                set.finish(cut, sketch);
            }
        }
    }

    /// The shingles of a text.
    pub(super) fn list(&mut self, text: &str, cut: Cut, shingles: &mut Vec<u64>) {
        self.shingles.list(text, self.shingle.unwrap_or(units_of(cut)), shingles);
    }
}

/// Sketches of sets by one permutation: each shingle falls into one of the numbers, and each keeps its least.
pub struct SetSketcher {
    bands: Bands,
    numbers: Vec<u32>,
    full: Vec<u32>,
    sum: u64,
    count: usize,
}

impl SetSketcher {
    pub fn new(threshold: f64) -> Self {
        let bands = Bands::of(threshold);
        Self { bands, numbers: vec![EMPTY; bands.numbers()], full: Vec::new(), sum: 0, count: 0 }
    }

    /// Bands, and numbers of each.
    pub fn shape(&self) -> (usize, usize) {
        (self.bands.bands, self.bands.rows)
    }

    pub fn sketch_bytes(&self) -> usize {
        1 + 8 * (1 + self.bands.bands)
    }

    pub fn begin(&mut self) {
        self.numbers.fill(EMPTY);
        (self.sum, self.count) = (0, 0);
    }

    /// Takes a shingle's hash: its upper half says where it falls, its lower half what it is worth.
    #[inline(always)]
    pub fn add(&mut self, shingle: u64) {
        let at = ((shingle >> 32) * self.numbers.len() as u64) >> 32;
        let number = &mut self.numbers[at as usize];
        *number = (*number).min(shingle as u32 >> 1);
        self.sum = self.sum.wrapping_add(shingle);
        self.count += 1;
    }

    /// Appends the sketch.
    pub fn finish(&mut self, cut: Cut, sketch: &mut Vec<u8>) {
        if self.count == 0 {
            sketch.resize(sketch.len() + self.sketch_bytes(), NOTHING);
            return;
        }
        self.densify();
        sketch.push(match cut {
            Cut::Spaced => SPACED,
            Cut::Characters => CHARACTERS,
        });
        sketch.extend_from_slice(&self.sum.to_le_bytes());
        for band in self.full.chunks_exact(self.bands.rows) {
            let hash = band
                .iter()
                .fold(0x2d35_8dcc_aa6c_78a5, |hash, number| fold(hash ^ u64::from(*number), 0x8bb8_4b93_962e_acc9));
            sketch.extend_from_slice(&hash.to_le_bytes());
        }
    }

    /// Fills every empty number from a full one that chance, the same for all documents, chooses for it. What was
    /// filled so is no source for others: this is what keeps numbers of short texts as good as drawn one by one.
    fn densify(&mut self) {
        self.full.clear();
        let count = self.numbers.len() as u64;
        for (place, &number) in self.numbers.iter().enumerate() {
            let (mut found, mut draw) = (number, (place as u64) << 32);
            while found == EMPTY {
                draw += 1;
                let source = ((fold(draw ^ 0x2d35_8dcc_aa6c_78a5, 0x9fb2_1c65_1e98_df25) >> 32) * count) >> 32;
                found = self.numbers[source as usize];
            }
            self.full.push(found);
        }
    }
}

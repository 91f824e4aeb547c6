//! Words that a text has already had: their rows' sums. Half the words of a page are a few dozen.

/// Entries that words fall on by their hash; the last one of each stays.
#[derive(Default)]
pub(super) struct Cache {
    words: Vec<Word>,
    sums: Vec<f32>,
    /// Whose sums these are.
    model: u64,
    dim: usize,
    /// For words that are too long to be kept.
    single: Vec<f32>,
}

#[derive(Clone, Default)]
struct Word {
    bytes: [u8; LONGEST],
    length: u8,
    /// How many rows were added; none for a label.
    rows: Option<u32>,
}

const LONGEST: usize = 23;
/// Of all sums: what the second-level cache of a core holds.
const BYTES: usize = 1 << 18;

impl Cache {
    /// Makes room for sums of `dim` numbers of a model, which forgets those of another.
    pub fn fit(&mut self, model: u64, dim: usize) {
        if self.model != model {
            let entries = (BYTES / (dim * 4)).clamp(64, 4096).next_power_of_two();
            *self = Self {
                words: vec![Word::default(); entries],
                sums: vec![0.0; entries * dim],
                model,
                dim,
                single: vec![0.0; dim],
            };
        }
    }

    /// The sum of a word's rows and their number; `sum` makes them where they are not here.
    #[inline]
    pub fn get(
        &mut self,
        word: &[u8],
        hash: u32,
        sum: impl FnOnce(&mut [f32]) -> Option<u32>,
    ) -> (Option<u32>, &[f32]) {
        if word.len() > LONGEST {
            self.single.fill(0.0);
            return (sum(&mut self.single), &self.single);
        }
        let slot = (hash ^ hash >> 15) as usize & (self.words.len() - 1);
        let sums = &mut self.sums[slot * self.dim..][..self.dim];
        let known = &mut self.words[slot];
        if usize::from(known.length) != word.len() || &known.bytes[..word.len()] != word {
            known.length = word.len() as u8;
            known.bytes[..word.len()].copy_from_slice(word);
            sums.fill(0.0);
            known.rows = sum(sums);
        }
        (known.rows, sums)
    }
}

//! fastText's classifiers: `.bin` files, and `.ftz` files whose rows are quantised. The file is mapped, and read as it
//! is asked for; what a prediction says is what fastText says.
//!
//! A text is one line. Its tokens, the letters in each and the words that follow one another have rows in the input
//! matrix; the rows' mean is compared with a row of the output matrix for each label.

mod cache;
mod dictionary;
mod fields;
mod loss;
mod matrix;

use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::Mmap;

use crate::error::{shown, Error, Result};
use cache::Cache;
use dictionary::{hash, next_token, Dictionary, LINE_END};
use fields::Fields;
use loss::Loss;
use matrix::Matrix;

const MAGIC: i32 = 793_712_314;
/// Letters in a gram and words in a phrase at most: fastText's own models have 6 and 5, and a text's time grows with
/// both.
const LONGEST: i32 = 255;

/// Why a file is no model that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    /// It is none of fastText's.
    Foreign,
    Version(i32),
    /// Word vectors: what trained them is named.
    Vectors(&'static str),
    Short,
    Damaged(&'static str),
}

impl Fault {
    fn at(self, path: &Path) -> Error {
        let path = shown(path);
        let classifier = "give a classifier, as `fasttext supervised` writes it: a .bin or .ftz file";
        match self {
            Self::Foreign => Error::data(format!("{path} is no fastText model")).hint(classifier),
            Self::Version(version) => {
                Error::data(format!("{path} is a fastText model of version {version}, and 11 and 12 are read"))
                    .hint("save it again with fastText 0.9")
            }
            Self::Vectors(kind) => {
                Error::data(format!("{path} holds word vectors ({kind}), and no classifier")).hint(classifier)
            }
            Self::Short => {
                Error::data(format!("{path} is a fastText model that was cut short")).hint("copy or download it again")
            }
            Self::Damaged(what) => {
                Error::data(format!("{path} is a damaged fastText model: {what}")).hint("copy or download it again")
            }
        }
    }
}

/// What of a model's settings a prediction needs.
#[derive(Debug, Clone)]
struct Settings {
    dim: i32,
    loss: i32,
    bucket: u32,
    /// Letters of a gram: at least, at most.
    letters: (i32, i32),
    /// Words of a phrase at most; 1 for none.
    phrase: i32,
}

impl Settings {
    fn read(fields: &mut Fields) -> Result<Self, Fault> {
        let mut head = || fields.i32().map_err(|_| Fault::Foreign);
        if head()? != MAGIC {
            return Err(Fault::Foreign);
        }
        let version = head()?;
        if !(11..=12).contains(&version) {
            return Err(Fault::Version(version));
        }
        let mut numbers = [0; 12];
        for number in &mut numbers {
            *number = fields.i32()?;
        }
        let [dim, _, _, _, _, phrase, loss, kind, bucket, least, most, _] = numbers;
        let _threshold = fields.f64()?;
        match kind {
            1 => return Err(Fault::Vectors("CBOW")),
            2 => return Err(Fault::Vectors("skip-gram")),
            3 => {}
            _ => return Err(Fault::Damaged("its kind is none that fastText has")),
        }
        // classifiers of version 11 have no letters, whatever is written there
        let most = if version == 11 { 0 } else { most };
        let settings = Self { dim, loss, bucket: bucket.max(0) as u32, letters: (least, most), phrase: phrase.max(1) };
        if dim < 1 || most > LONGEST || phrase > LONGEST || (settings.grams() && bucket < 1) {
            return Err(Fault::Damaged("its settings are none that fastText has"));
        }
        Ok(settings)
    }

    /// Whether rows are looked up by a hash.
    fn grams(&self) -> bool {
        self.letters.1 > 0 || self.phrase > 1
    }
}

/// A classifier that fastText trained.
pub struct FastText {
    bytes: Bytes,
    /// Tells its scratch from another model's; 0 is nobody's.
    number: u64,
    settings: Settings,
    dictionary: Dictionary,
    input: Matrix,
    output: Matrix,
    loss: Loss,
    labels: Vec<String>,
}

enum Bytes {
    Mapped(Mmap),
    Static(&'static [u8]),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Static(bytes) => bytes,
        }
    }
}

/// What predictions work with, so that none allocates. Each model's are best its own: the
/// words of another are forgotten.
#[derive(Default)]
pub struct Scratch {
    hidden: Vec<f32>,
    scores: Vec<f32>,
    hashes: Vec<u32>,
    framed: Vec<u8>,
    nodes: Vec<(u32, f32)>,
    /// Scores and labels, best first.
    best: Vec<(f32, u32)>,
    words: Cache,
    /// What of a text is looked at.
    pub(super) sample: String,
}

impl Scratch {
    fn is_beaten(&self, score: f32, k: usize) -> bool {
        self.best.len() == k && self.best.last().is_some_and(|worst| score < worst.0)
    }

    /// Takes a label in if it is among the `k` best; of equal ones the later, as fastText does.
    fn offer(&mut self, score: f32, label: u32, k: usize) {
        // a damaged number is no answer
        if score.is_nan() || self.is_beaten(score, k) {
            return;
        }
        if self.best.len() == k {
            self.best.pop();
        }
        let place = self.best.partition_point(|better| better.0 > score);
        self.best.insert(place, (score, label));
    }
}

impl FastText {
    pub fn open(path: &Path) -> Result<Self> {
        let io = |error| Error::io("read", path, &error);
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if about.is_dir() || about.len() == 0 {
            return Err(Fault::Foreign.at(path));
        }
        // SAFETY: the bytes are only ever read as bytes, and any are valid. A file that another process truncates
        // meanwhile ends this process with SIGBUS, as it would any reader of a mapping.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        Self::read(Bytes::Mapped(map)).map_err(|fault| fault.at(path))
    }

    /// A model that lies in this program.
    pub(super) fn built_in(bytes: &'static [u8]) -> Self {
        Self::read(Bytes::Static(bytes)).expect("the model that this program carries")
    }

    fn read(bytes: Bytes) -> Result<Self, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let map: &[u8] = &bytes;
        let mut fields = Fields::new(map);
        let settings = Settings::read(&mut fields)?;
        let dictionary = Dictionary::read(map, &mut fields, &settings)?;
        let quantised = fields.bool()?;
        let input = Matrix::read(&mut fields, quantised)?;
        let output_quantised = fields.bool()?;
        let output = Matrix::read(&mut fields, quantised && output_quantised)?;
        let labels = dictionary.label_counts.len();
        let dim = settings.dim as usize;
        if input.columns != dim || output.columns != dim || output.rows != labels || input.rows < dictionary.rows() {
            return Err(Fault::Damaged("its matrices do not fit its words and labels"));
        }
        let loss = Loss::new(settings.loss, &dictionary.label_counts)?;
        let named = |number| String::from_utf8_lossy(dictionary.label(map, number)).into_owned();
        let labels = (0..labels).map(named).collect();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self { bytes, number, settings, dictionary, input, output, loss, labels })
    }

    /// The labels as the model has them, `__label__` included; a prediction's number counts these.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The `k` best labels of a text and their probabilities, best first. Line ends are spaces.
    pub fn predict<'s>(
        &self,
        text: &str,
        k: usize,
        scratch: &'s mut Scratch,
    ) -> impl Iterator<Item = (usize, f32)> + use<'s> {
        scratch.best.clear();
        if k > 0 && self.mean(text, scratch) {
            self.loss.best(&self.bytes, &self.output, k.min(self.labels.len()), scratch);
        }
        scratch.best.iter().map(|(score, label)| (*label as usize, score.exp()))
    }

    /// The best label of a text and its probability; none for a text without words.
    pub fn best(&self, text: &str, scratch: &mut Scratch) -> Option<(usize, f32)> {
        self.predict(text, 1, scratch).next()
    }

    /// The probability of one label.
    pub fn probability(&self, text: &str, label: usize, scratch: &mut Scratch) -> f32 {
        let all = self.labels.len();
        self.predict(text, all, scratch).find(|(found, _)| *found == label).map_or(0.0, |(_, probability)| probability)
    }

    /// The mean of a text's rows into `scratch.hidden`; false where it has none. Rows are added one by one in fastText's
    /// order: sums of ten thousand numbers differ in the fifth digit otherwise.
    fn mean(&self, text: &str, scratch: &mut Scratch) -> bool {
        let Scratch { hidden, hashes, framed, words, .. } = scratch;
        words.fit(self.number);
        hidden.clear();
        hidden.resize(self.settings.dim as usize, 0.0);
        hashes.clear();
        let mut count = 0;
        let mut add = |row: usize| {
            self.input.add_row(&self.bytes, row, hidden);
            count += 1;
        };
        let mut at = 0;
        loop {
            let range = next_token(text.as_bytes(), at);
            let token = range.as_ref().map_or(LINE_END, |range| &text.as_bytes()[range.clone()]);
            let hash = hash(token);
            if self.settings.phrase > 1 && !self.dictionary.is_label(&self.bytes, token, hash) {
                hashes.push(hash);
            }
            let rows = words.rows(token, hash, |rows| self.list_rows(token, hash, framed, rows));
            for row in rows {
                add(*row as usize);
            }
            match range {
                Some(range) if token != LINE_END => at = range.end,
                _ => break,
            }
        }
        self.dictionary.phrase_rows(hashes, add);
        let share = 1.0 / count as f32;
        for sum in hidden {
            *sum *= share;
        }
        count > 0
    }

    /// The rows of a token: its own, and those of its letters.
    fn list_rows(&self, token: &[u8], hash: u32, framed: &mut Vec<u8>, rows: &mut Vec<u32>) {
        framed.clear();
        framed.push(b'<');
        framed.extend_from_slice(token);
        framed.push(b'>');
        self.dictionary.token_rows(&self.bytes, framed, hash, |row| rows.push(row as u32));
    }
}

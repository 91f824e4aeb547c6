//! `FILE:LABEL>=X`: what a fastText classifier must say of a text that is kept.

use std::path::Path;

use super::{nearest, FastText, Scratch};
use crate::error::{quoted, Error, Result};

/// A classifier, the label that is asked for, and where the line is drawn.
pub struct Classifier {
    model: FastText,
    label: usize,
    comparison: Comparison,
    threshold: f32,
    told: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    AtLeast,
    AtMost,
    Below,
    Above,
}

impl Comparison {
    const WRITTEN: [(&'static str, Self); 4] =
        [(">=", Self::AtLeast), ("<=", Self::AtMost), ("<", Self::Below), (">", Self::Above)];

    pub fn name(self) -> &'static str {
        Self::WRITTEN.iter().find(|(_, comparison)| *comparison == self).expect("each is written").0
    }

    /// Whether a text of this probability is kept.
    pub fn holds(self, probability: f32, threshold: f32) -> bool {
        match self {
            Self::AtLeast => probability >= threshold,
            Self::AtMost => probability <= threshold,
            Self::Below => probability < threshold,
            Self::Above => probability > threshold,
        }
    }
}

impl Classifier {
    /// Opens what `FILE:LABEL>=X` names; `<=`, `<` and `>` too, and the label with or without `__label__`.
    pub fn parse(told: &str) -> Result<Self> {
        let (file, label, comparison, threshold) = cut(told)?;
        let model = FastText::open(Path::new(file))?;
        let bare = |label: &str| label.strip_prefix("__label__").unwrap_or(label).to_owned();
        let labels: Vec<_> = model.labels().iter().map(|label| bare(label)).collect();
        let number = labels.iter().position(|known| *known == bare(label));
        let Some(label) = number else {
            return Err(Error::usage(format!("{file} has no label {}", quoted(label))).hint(
                match nearest(label, labels.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("its labels are {}", some(&labels)),
                },
            ));
        };
        Ok(Self { model, label, comparison, threshold, told: told.into() })
    }

    /// The probability of the label; none for a text without words.
    pub fn measure(&self, text: &str, scratch: &mut Scratch) -> f32 {
        self.model.probability(text, self.label, scratch)
    }

    /// Whether a text whose label is this probable is kept.
    pub fn keeps(&self, probability: f32) -> bool {
        self.comparison.holds(probability, self.threshold)
    }

    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    pub fn threshold(&self) -> f32 {
        self.threshold
    }

    /// As it was asked for.
    pub fn told(&self) -> &str {
        &self.told
    }
}

/// The file that `FILE:LABEL>=X` names.
pub fn file_of(told: &str) -> Result<&str> {
    cut(told).map(|(file, ..)| file)
}

/// File, label, comparison and threshold. A file's name may hold `:`, `<` and `>`, and so may a label: the last `<` or `>`
/// compares, and the file ends at the last `:` before which the name of a file stands.
fn cut(told: &str) -> Result<(&str, &str, Comparison, f32)> {
    let refused = |why: &str| {
        Error::usage(format!("{} is no classifier with a threshold: {why}", quoted(told)))
            .hint("write FILE:LABEL>=X with X from 0 to 1, such as quality.bin:hq>=0.018; quote it for the shell")
    };
    let sign = told.rfind(['<', '>']).ok_or_else(|| refused("it has no >=, <=, < or >"))?;
    let (name, comparison) = told[sign..].strip_prefix(|c| "<>".contains(c)).map_or_else(
        || unreachable!("`sign` is where one stands"),
        |rest| {
            let length = 1 + usize::from(rest.starts_with('='));
            let written = &told[sign..sign + length];
            (written, Comparison::WRITTEN.iter().find(|(sign, _)| *sign == written).expect("one of four").1)
        },
    );
    let number = told[sign + name.len()..].trim();
    let threshold = number.parse::<f32>().ok().filter(|value| (0.0..=1.0).contains(value));
    let threshold = threshold.ok_or_else(|| refused(&format!("{} is no number from 0 to 1", quoted(number))))?;
    let parts = |at: usize| (told[..at].trim(), told[at + 1..sign].trim());
    let colons = || told[..sign].rmatch_indices(':').map(|(at, _)| parts(at));
    let there = colons().find(|(file, _)| Path::new(file).is_file());
    match there.or_else(|| colons().next()).ok_or_else(|| refused("it names no label"))? {
        ("", _) => Err(refused("it names no file")),
        (_, "") => Err(refused("it names no label")),
        (file, label) => Ok((file, label, comparison, threshold)),
    }
}

/// The first few of many names.
fn some(names: &[String]) -> String {
    let shown = names.iter().take(10).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 10 {
        format!("{shown} … ({} in all)", names.len())
    } else {
        shown
    }
}

//! What is compared, and how.

use super::fineweb;
use crate::error::{Error, Result};

/// Which documents are nearly the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Near {
    /// None is looked for.
    Off,
    /// Those that `FineWeb`'s `MinHash` calls so: datatrove's signatures, buckets and clusters.
    FineWeb,
    /// Those whose shingles agree in this share, by their exact Jaccard.
    Jaccard(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub near: Near,
    /// Units of a shingle; 5, or 8 where words are not spaced, if nothing is said.
    pub shingle: Option<usize>,
    /// What `Near::FineWeb` hashes shingles with.
    pub hash: fineweb::Hash,
}

impl Default for Settings {
    fn default() -> Self {
        Self { near: Near::Jaccard(0.8), shingle: None, hash: fineweb::Hash::Xxh64 }
    }
}

/// Thresholds that bands are made for.
const THRESHOLDS: std::ops::RangeInclusive<f64> = 0.3..=1.0;

impl Near {
    /// `0.8`, `fineweb` or `off`.
    pub fn parse(given: &str) -> Result<Self> {
        match given {
            "off" => Ok(Self::Off),
            "fineweb" => Ok(Self::FineWeb),
            number => match number.parse() {
                Ok(threshold) if THRESHOLDS.contains(&threshold) => Ok(Self::Jaccard(threshold)),
                _ => Err(Error::usage(format!("{given:?} says not which documents are near-duplicates"))
                    .hint("--near takes a share of shingles from 0.3 to 1, such as 0.8, or fineweb, or off")),
            },
        }
    }
}

impl Settings {
    /// `near` as it is given, and units a shingle.
    pub fn new(near: &str, shingle: Option<usize>) -> Result<Self> {
        if shingle.is_some_and(|units| !(1..=64).contains(&units)) {
            let said = format!("a shingle of {} words cannot be", shingle.unwrap_or_default());
            return Err(Error::usage(said).hint("--shingle takes 1 to 64; 5 is what most use"));
        }
        Ok(Self { near: Near::parse(near)?, shingle, ..Self::default() })
    }
}

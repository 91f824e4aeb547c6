//! How wide a column's numbers are stored.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Width {
    U32,
    F32,
    F64,
}

/// Where a column's numbers lie in the file.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub values: usize,
    pub count: usize,
    pub width: Width,
}

impl Width {
    /// The narrowest width in which every number is what it was.
    pub fn of(values: &[f64]) -> Self {
        let fits = |narrow: fn(f64) -> f64| values.iter().all(|&value| narrow(value).to_bits() == value.to_bits());
        if fits(|value| f64::from(value as u32)) {
            Self::U32
        } else if values.iter().all(|&value| value.is_nan() || f64::from(value as f32).to_bits() == value.to_bits()) {
            Self::F32
        } else {
            Self::F64
        }
    }

    pub fn bytes(self) -> usize {
        if self == Self::F64 {
            8
        } else {
            4
        }
    }

    pub fn widened(self, bytes: &[u8]) -> Vec<f64> {
        let four = |bytes: &[u8]| [bytes[0], bytes[1], bytes[2], bytes[3]];
        match self {
            Self::U32 => bytes.chunks_exact(4).map(|one| f64::from(u32::from_le_bytes(four(one)))).collect(),
            Self::F32 => bytes.chunks_exact(4).map(|one| f64::from(f32::from_le_bytes(four(one)))).collect(),
            Self::F64 => {
                bytes.chunks_exact(8).map(|one| f64::from_le_bytes(one.try_into().unwrap_or_default())).collect()
            }
        }
    }

    pub fn narrowed(self, values: &[f64]) -> Vec<u8> {
        match self {
            Self::U32 => values.iter().flat_map(|&value| (value as u32).to_le_bytes()).collect(),
            Self::F32 => values.iter().flat_map(|&value| (value as f32).to_le_bytes()).collect(),
            Self::F64 => values.iter().flat_map(|&value| value.to_le_bytes()).collect(),
        }
    }
}

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

    /// The numbers of so many bytes.
    pub fn widen(self, bytes: &[u8], into: &mut [f64]) {
        match self {
            Self::U32 => each(bytes, into, |bytes| f64::from(u32::from_le_bytes(bytes))),
            Self::F32 => each(bytes, into, |bytes| f64::from(f32::from_le_bytes(bytes))),
            Self::F64 => each(bytes, into, f64::from_le_bytes),
        }
    }

    /// Adds the bytes of the numbers.
    pub fn narrow(self, values: &[f64], bytes: &mut Vec<u8>) {
        bytes.reserve(values.len() * self.bytes());
        for &value in values {
            match self {
                Self::U32 => bytes.extend((value as u32).to_le_bytes()),
                Self::F32 => bytes.extend((value as f32).to_le_bytes()),
                Self::F64 => bytes.extend(value.to_le_bytes()),
            }
        }
    }
}

fn each<const BYTES: usize>(bytes: &[u8], into: &mut [f64], number: impl Fn([u8; BYTES]) -> f64) {
    let (numbers, _) = bytes.as_chunks::<BYTES>();
    for (value, &bytes) in into.iter_mut().zip(numbers) {
        *value = number(bytes);
    }
}

//! The fields of a model file, one after another; none is believed before the file is long enough for it.

use std::ops::Range;

use super::Fault;

/// Where the reading of a file stands.
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next `count` elements of `size` bytes lie, which the file is known to hold.
    pub fn run(&mut self, count: i64, size: usize) -> Result<Range<usize>, Fault> {
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size)).ok_or(Fault::Short)?;
        if length > self.bytes.len() - self.at {
            return Err(Fault::Short);
        }
        self.at += length;
        Ok(self.at - length..self.at)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let range = self.run(N as i64, 1)?;
        Ok(self.bytes[range].try_into().expect("a run of N bytes"))
    }

    pub fn bool(&mut self) -> Result<bool, Fault> {
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Fault::Damaged("a switch is neither on nor off")),
        }
    }

    pub fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.array::<1>()?[0])
    }

    pub fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_le_bytes)
    }

    pub fn i64(&mut self) -> Result<i64, Fault> {
        self.array().map(i64::from_le_bytes)
    }

    pub fn f64(&mut self) -> Result<f64, Fault> {
        self.array().map(f64::from_le_bytes)
    }

    /// A word, which a zero byte ends.
    pub fn word(&mut self) -> Result<Range<usize>, Fault> {
        let length = memchr::memchr(0, &self.bytes[self.at..]).ok_or(Fault::Short)?;
        self.at += length + 1;
        Ok(self.at - length - 1..self.at - 1)
    }

    /// Numbers of a table that is small enough to be copied.
    pub fn floats(&mut self, count: i64) -> Result<Vec<f32>, Fault> {
        let range = self.run(count, 4)?;
        Ok(self.bytes[range].as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }
}

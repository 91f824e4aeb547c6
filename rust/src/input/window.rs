//! The bytes of a stream that were read and not yet handed on.

use super::compressed::{self, Stream};
use super::SourceFile;
use crate::error::Result;

/// Of the bytes, what lies before `taken` is gone already.
pub(super) struct Window {
    stream: Stream,
    bytes: Vec<u8>,
    taken: usize,
    /// Bytes that the stream has at most: a small file is not given room for a large one.
    most: u64,
    pub ended: bool,
}

impl Window {
    pub fn new(stream: Stream) -> Self {
        Self::of_size(stream, u64::MAX)
    }

    pub fn of_size(stream: Stream, most: u64) -> Self {
        Self { stream, bytes: Vec::new(), taken: 0, most, ended: false }
    }

    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Reads until `wanted` bytes are there, or all. `position` is where the window begins in the text of the file.
    pub fn fill(&mut self, wanted: usize, file: &SourceFile, position: u64) -> Result<()> {
        let there = self.rest().len();
        if there < wanted && !self.ended {
            let done = position + there as u64;
            // one more than there may be, which shows that there is no more
            let count = ((wanted - there) as u64).min(self.most.saturating_add(1)) as usize;
            self.ended = compressed::fill(&mut self.stream, &mut self.bytes, count, file, done)?;
        }
        Ok(())
    }

    /// Reads until something is found in what is there. It is told whether that is all.
    pub fn fill_until<T>(
        &mut self,
        file: &SourceFile,
        position: u64,
        find: impl Fn(&[u8], bool) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut wanted = 64 << 10;
        loop {
            self.fill(wanted, file, position)?;
            let found = find(self.rest(), self.ended);
            if found.is_some() || self.ended || wanted > LONGEST {
                return Ok(found);
            }
            wanted *= 2;
        }
    }

    /// Leaves out the next `count` bytes.
    pub fn pass(&mut self, count: u64, file: &SourceFile, mut position: u64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            self.fill(left.min(1 << 20) as usize, file, position)?;
            let step = (self.rest().len() as u64).min(left);
            if step == 0 {
                break;
            }
            self.take(step as usize);
            left -= step;
            position += step;
        }
        Ok(())
    }

    pub fn take(&mut self, length: usize) -> Vec<u8> {
        take_front(&mut self.bytes, &mut self.taken, length)
    }
}

/// Bytes that one record may have: where a quote is not closed, all that follows is one.
pub(super) const LONGEST: usize = if cfg!(test) { 64 << 10 } else { 256 << 20 };

/// The next `length` bytes of a window. Whichever of them and what is behind them is less is copied: after a long
/// document much may be left, which is not to be moved for every block.
fn take_front(window: &mut Vec<u8>, taken: &mut usize, length: usize) -> Vec<u8> {
    let end = *taken + length;
    if window.len() - end > length {
        let text = window[*taken..end].to_vec();
        *taken = end;
        if end > window.len() / 2 {
            window.drain(..end);
            *taken = 0;
        }
        return text;
    }
    let rest = window[end..].to_vec();
    let mut text = std::mem::replace(window, rest);
    text.truncate(end);
    text.drain(..*taken);
    *taken = 0;
    text
}

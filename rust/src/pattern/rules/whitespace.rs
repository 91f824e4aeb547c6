//! What GPT-4's patterns do with newlines: `[^\s\p{L}\p{N}]+[\r\n]*` takes those right after symbols, and `\s*[\r\n]+`
//! makes one pre-token of whitespace up to its last newline.

use super::super::window::{Window, BACK, CONTEXT, DECIDED, STEP};
use super::Place;

/// Newlines (with o200k slashes too) that belong to the symbols before them.
#[derive(Default)]
pub struct Absorbed {
    context: u64,
}

impl Absorbed {
    /// `other` are the symbols, `chain` what may be absorbed: a run of it that a newline begins right after a symbol.
    #[inline(always)]
    pub fn find(&mut self, other: u64, newline: u64, chain: u64) -> u64 {
        let absorbed = self.peek(other, newline, chain);
        self.context = absorbed >> STEP & CONTEXT;
        absorbed
    }

    /// The same, without moving on to the next window.
    #[inline(always)]
    pub fn peek(&self, other: u64, newline: u64, chain: u64) -> u64 {
        let chain = chain & DECIDED;
        let seeds = (newline & DECIDED & other << 1) | (chain & self.context << 1);
        // The sum ripples from a seed through the end of its run; a later seed in the run stays set.
        chain & !chain.wrapping_add(seeds) | seeds | self.context
    }
}

/// Boundaries after the last newline of a whitespace run. Which newline is the last is known at the end of the run only,
/// which may lie any number of windows ahead.
#[derive(Default)]
pub struct AfterNewline {
    /// Whitespace without newlines has run from here to the end of the last window.
    pending: Option<usize>,
    late: Option<usize>,
}

impl AfterNewline {
    /// `gap` is whitespace but newlines, `space` all of it. `starts` are those of runs of `gap` after a newline.
    #[inline(always)]
    pub fn find(&mut self, gap: u64, space: u64, starts: u64, place: &Place) -> u64 {
        if let Some(position) = self.pending {
            let length = (!gap >> BACK).trailing_zeros() as usize;
            if length < 64 - BACK {
                self.pending = None;
                if space >> (BACK + length) & 1 == 0 {
                    self.late = Some(position);
                }
            }
        }
        let mut found = 0;
        let mut starts = starts & DECIDED;
        while starts != 0 {
            let bit = starts.trailing_zeros();
            let end = bit + (!(gap >> bit)).trailing_zeros();
            if end >= 64 {
                self.pending = Some(place.position(bit));
            } else if space >> end & 1 == 0 {
                found |= 1 << bit;
            }
            starts &= starts - 1;
        }
        found
    }

    #[inline(always)]
    pub fn late(&mut self) -> Option<usize> {
        self.late.take()
    }

    /// At the end of the text the run is over.
    pub fn last(&mut self) -> Option<usize> {
        self.pending.take()
    }
}

/// Boundaries before the last character of whitespace that something follows, unless it is a newline.
#[inline(always)]
pub fn lasts<const WIDE: bool>(window: &Window, gap: u64) -> u64 {
    window.firsts_of::<WIDE>(gap & !(window.space >> 1))
}

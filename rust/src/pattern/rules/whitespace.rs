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
    /// Whitespace without newlines has run from here to the end of the last window; 0 if it has not (no boundary that is
    /// in question lies at the start of a text).
    pending: usize,
    late: usize,
}

impl AfterNewline {
    /// `gap` is whitespace but newlines, `space` all of it. `starts` are those of runs of `gap` after a newline.
    #[inline(always)]
    pub fn find(&mut self, gap: u64, space: u64, starts: u64, place: &Place) -> u64 {
        if self.pending != 0 {
            self.resume(gap, space);
        }
        let mut starts = starts & DECIDED;
        let mut found = 0;
        // The first without a branch: in code every other window has one, and seldom a second.
        loop {
            let start = starts & starts.wrapping_neg();
            // A carry runs to the end of the run; none comes out where the run goes on beyond the window.
            let end = gap.wrapping_add(start) & !gap;
            found |= if end & !space == 0 { 0 } else { start };
            starts ^= start;
            if starts == 0 {
                if start != 0 && end == 0 {
                    self.pending = place.position(start.trailing_zeros());
                }
                return found;
            }
        }
    }

    #[cold]
    fn resume(&mut self, gap: u64, space: u64) {
        let end = (!gap >> BACK).trailing_zeros() as usize + BACK;
        if end < 64 {
            self.late = if space >> end & 1 == 0 { self.pending } else { 0 };
            self.pending = 0;
        }
    }

    #[inline(always)]
    pub fn late(&mut self) -> Option<usize> {
        (self.late != 0).then(|| std::mem::take(&mut self.late))
    }

    /// At the end of the text the run is over.
    pub fn last(&mut self) -> Option<usize> {
        (self.pending != 0).then_some(self.pending)
    }
}

/// Boundaries before the last character of whitespace that something follows, unless it is a newline.
#[inline(always)]
pub fn lasts<const WIDE: bool>(window: &Window, gap: u64) -> u64 {
    window.firsts_of::<WIDE>(gap & !(window.space >> 1))
}

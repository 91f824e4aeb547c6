//! `\p{N}{1,3}`: a run of numbers in groups of three, counted from its start.

use super::super::window::{Window, BACK, DECIDED, STEP};

/// Counts across windows.
#[derive(Default)]
pub struct Groups {
    /// Characters of the group that the last decided byte belongs to, where it is a number.
    count: u32,
}

impl Groups {
    /// The starts of groups within runs; the starts of the runs may or may not be among them.
    #[inline(always)]
    pub fn starts<const WIDE: bool>(&mut self, window: &Window) -> u64 {
        let number = window.number;
        let two = number & number << 1;
        let third = two & two << 2 & DECIDED;
        if third == 0 && (!WIDE || number & window.rest == 0) {
            // No fourth digit in a row: at most three end at the last decided bit, and they are one group.
            self.count = (number << (64 - BACK - STEP)).leading_ones();
            return 0;
        }
        if WIDE {
            self.count(number, window.rest)
        } else {
            self.groups(number, third)
        }
    }

    /// In ASCII a group starts three bytes after a start, with numbers in between: bits of `third`.
    #[inline(never)]
    fn groups(&mut self, number: u64, third: u64) -> u64 {
        let runs = number & !(number << 1) & DECIDED;
        // A run that comes from the context starts its next group when the one begun there has three.
        let more = number >> (BACK - 1) & 1 & (number >> BACK);
        let mut last = (runs << 3 | more << (BACK as u32 + 3 - self.count)) & third;
        let mut starts = last;
        while last != 0 {
            last = last << 3 & third;
            starts |= last;
        }
        // What a last run has after its last start; in 56 digits there is one.
        let begun = (starts | runs) & DECIDED;
        let count = begun.leading_zeros().wrapping_sub((63 - BACK - STEP) as u32);
        self.count = if number >> (BACK + STEP - 1) & 1 == 1 { count } else { 0 };
        starts
    }

    /// One character at a time. Takes masks, not the window: a reference would put all of it into memory.
    #[cold]
    fn count(&mut self, number: u64, rest: u64) -> u64 {
        let mut count = if number >> (BACK - 1) & 1 == 1 { self.count } else { 0 };
        let mut starts = 0;
        let mut todo = number & DECIDED & !rest;
        while todo != 0 {
            let bit = todo & todo.wrapping_neg();
            todo ^= bit;
            if number & bit >> 1 == 0 {
                count = 0;
            } else if count == 3 {
                starts |= bit;
                count = 0;
            }
            count += 1;
        }
        self.count = if number >> (BACK + STEP - 1) & 1 == 1 { count } else { 0 };
        starts
    }
}

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
        if WIDE && number & window.rest != 0 {
            return self.count(window);
        }
        let runs = number & !(number << 1) & DECIDED;
        // A run that comes from the context starts its next group when the one begun there has three.
        let more = number >> (BACK - 1) & 1 & (number >> BACK);
        let resumed = more << (BACK as u32 + 3 - self.count);
        // A start three after a start, with numbers in between.
        let third = number & number << 1 & number << 2 & number << 3;
        let mut last = (runs << 3 | resumed) & third;
        let mut starts = last;
        while last != 0 {
            last = last << 3 & third;
            starts |= last;
        }
        // What a last run has after its last start; there is one in 56 digits.
        let begun = (starts | runs) & DECIDED;
        self.count = if number >> (BACK + STEP - 1) & 1 == 1 { (BACK + STEP) as u32 - begun.ilog2() } else { 0 };
        starts
    }

    #[cold]
    fn count(&mut self, window: &Window) -> u64 {
        let number = window.number;
        let mut count = if number >> (BACK - 1) & 1 == 1 { self.count } else { 0 };
        let mut starts = 0;
        let mut todo = number & DECIDED & !window.rest;
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

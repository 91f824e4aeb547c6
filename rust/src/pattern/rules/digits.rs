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
        // A fourth digit in a row, the first of them at most three before what this window decides.
        let four = number & number << 1 & number << 2 & number << 3 & DECIDED;
        if four == 0 && (!WIDE || number & window.rest == 0) {
            // At most three digits end at the last decided bit, and they are one group.
            self.count = (number << (64 - BACK - STEP)).leading_ones();
            return 0;
        }
        self.count(window)
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

//! `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

use super::super::window::{changes, Window, DECIDED};
use super::contraction::{self, Carried};
use super::{Place, Rules};

#[derive(Default)]
pub struct Gpt2 {
    contractions: Carried,
}

impl Rules for Gpt2 {
    #[inline(always)]
    fn boundaries<const WIDE: bool>(&mut self, window: &Window, place: &Place) -> u64 {
        let (letter, number, space) = (window.letter, window.number, window.space);
        let other = !(letter | number | space);
        // A single space belongs to what follows; the last of several whitespace characters stands apart.
        let joined = window.blank << 1 & !space;
        let lasts = window.firsts_of::<WIDE>(space & !(space >> 1));
        // An apostrophe starts a pre-token unless a symbol or a space before it has begun one.
        let mut apostrophes = window.apostrophe & !((other | window.blank) << 1) & DECIDED;
        while apostrophes != 0 {
            let bit = apostrophes.trailing_zeros();
            let length = contraction::length::<false>(place.text, place.position(bit));
            if length > 0 {
                self.contractions.lifted |= 2 << bit;
                self.contractions.set |= 1 << (bit as usize + length);
            }
            apostrophes &= apostrophes - 1;
        }
        self.contractions.apply(changes(letter | number, letter | other) & !joined | lasts)
    }
}

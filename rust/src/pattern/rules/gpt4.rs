//! GPT-4's pattern and its kin, llama3 and qwen2:
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

use super::super::window::{changes, Window, DECIDED};
use super::contraction::{self, Carried};
use super::digits::Groups;
use super::whitespace::{lasts, Absorbed, AfterNewline};
use super::{Place, Rules};

/// `TRIPLES`: digits in threes, else one by one. `TAIL`: whitespace that ends the text is one pre-token (`\s++$`).
#[derive(Default)]
pub struct Gpt4<const TRIPLES: bool, const TAIL: bool> {
    contractions: Carried,
    groups: Groups,
    absorbed: Absorbed,
    after_newline: AfterNewline,
}

impl<const TRIPLES: bool, const TAIL: bool> Rules for Gpt4<TRIPLES, TAIL> {
    #[inline(always)]
    fn boundaries<const WIDE: bool>(&mut self, window: &Window, place: &Place) -> u64 {
        let (letter, number, blank) = (window.letter, window.number, window.blank);
        let other = !(letter | number | window.space);
        let gap = window.space & !window.newline;
        let absorbed = self.absorbed.find(other, window.newline, window.newline);
        // Absorbed newlines are as symbols, but that a symbol after them starts anew.
        let changes = changes(letter | number, letter | other | absorbed) | other & absorbed << 1;
        let groups = if TRIPLES { self.groups.starts::<WIDE>(window) } else { number & !window.rest };
        // A word takes one character before it that is no letter, number or newline, if that one is free: whitespace
        // is; a symbol is when it is alone and no space has begun a pre-token with it.
        let free = window.whole::<WIDE>(other & !((other | blank) << 1));
        let joined = letter & (gap | free) << 1 | other & blank << 1;
        let restarts = gap & window.newline << 1 & !(absorbed << 1);
        let found = self.after_newline.find(gap, window.space, restarts, place);
        let mut apostrophes = window.apostrophe & !((other | blank) << 1) & DECIDED;
        while apostrophes != 0 {
            let bit = apostrophes.trailing_zeros();
            let length = contraction::length::<true>(place.text, place.position(bit));
            if length > 0 {
                self.contractions.set |= 1 << (bit as usize + length);
            }
            apostrophes &= apostrophes - 1;
        }
        self.contractions.apply_set(changes & !joined | groups | lasts::<WIDE>(window, gap) | found)
    }

    #[inline(always)]
    fn late(&mut self) -> Option<usize> {
        self.after_newline.late()
    }

    fn last(&mut self) -> Option<usize> {
        if TAIL {
            None
        } else {
            self.after_newline.last()
        }
    }
}

//! GPT-4o's pattern. With U = `[\p{Lu}\p{Lt}]`, X = `[\p{Lm}\p{Lo}\p{M}]`, L = `\p{Ll}`:
//! `[^\r\n\p{L}\p{N}]?[UX]*[LX]+('s…)?|[^\r\n\p{L}\p{N}]?[UX]+[LX]*('s…)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|…`
//!
//! Marks are word characters to the first two and symbols to the fourth: a mark continues symbols that have begun a
//! pre-token of the fourth kind, and is a word's character anywhere else.

use super::super::unicode::{self, Tables};
use super::super::window::{changes, Window, BACK, CONTEXT, DECIDED, STEP};
use super::contraction::{self, Carried};
use super::digits::Groups;
use super::whitespace::{lasts, Absorbed, AfterNewline};
use super::{Place, Rules};

#[derive(Default)]
pub struct O200k {
    contractions: Carried,
    /// The end of the last contraction: the letters of one are no word that could take another.
    contracted: usize,
    groups: Groups,
    absorbed: Absorbed,
    after_newline: AfterNewline,
    /// Marks among symbols, of the context.
    symbols: u64,
}

impl Rules for O200k {
    #[inline(always)]
    fn boundaries<const WIDE: bool>(&mut self, window: &Window, place: &Place) -> u64 {
        let (number, blank) = (window.number, window.blank);
        let mut word = window.letter;
        let mut other = !(word | number | window.space);
        if WIDE && window.mark != 0 {
            let symbols = self.marks_among_symbols(*window, other & !window.mark);
            word |= window.mark & !symbols;
            other &= !window.mark | symbols;
        } else {
            self.symbols = 0;
        }
        let gap = window.space & !window.newline;
        let absorbed = self.absorbed.find(other, window.newline, window.newline | window.slash);
        other &= !absorbed;
        let changes = changes(word | number, word | other | absorbed) | other & absorbed << 1;
        let groups = self.groups.starts::<WIDE>(window);
        let free = window.whole::<WIDE>(other & !((other | blank) << 1));
        let joined = word & (gap | free) << 1 | other & blank << 1;
        let restarts = gap & window.newline << 1 & !(absorbed << 1);
        let found = self.after_newline.find(gap, window.space, restarts, place);
        let mut rises = window.upper & window.lower << 1;
        // The end of the last contraction before this window's own, for words whose start lies back there.
        let contracted = self.contracted;
        let mut apostrophes = window.apostrophe & word << 1 & DECIDED;
        while apostrophes != 0 {
            let bit = apostrophes.trailing_zeros();
            let position = place.position(bit);
            if position != self.contracted {
                let length = contraction::length::<true>(place.text, position);
                if length > 0 {
                    // With `'lL` a capital rises inside.
                    self.contractions.lifted |= ((1 << length) - 1) << bit;
                    self.contractions.set |= 1 << (bit as usize + length);
                    self.contracted = position + length;
                }
            }
            apostrophes &= apostrophes - 1;
        }
        if WIDE {
            let ends = self.contractions.set;
            let mut unsure = window.upper & (word & (window.caseless | window.mark)) << 1 & DECIDED;
            while unsure != 0 {
                let bit = unsure.trailing_zeros();
                // The last contraction that ends no later than here.
                let before = ends & ((2 << bit) - 1);
                let contracted = if before == 0 { contracted } else { place.position(before.ilog2()) };
                if splits(place, place.position(bit), contracted) {
                    rises |= 1 << bit;
                }
                unsure &= unsure - 1;
            }
        }
        self.contractions.apply(changes & !joined | rises | groups | lasts::<WIDE>(window, gap) | found)
    }

    #[inline(always)]
    fn late(&mut self) -> Option<usize> {
        self.after_newline.late()
    }

    fn last(&mut self) -> Option<usize> {
        self.after_newline.last()
    }
}

impl O200k {
    /// Marks that continue symbols: their run follows a symbol that is not free to begin a word.
    #[cold]
    fn marks_among_symbols(&mut self, window: Window, plain: u64) -> u64 {
        let mut symbols = self.symbols & window.mark;
        let follow = |symbols: &mut u64, first: u32| {
            let run = (!(window.mark >> first)).trailing_zeros();
            *symbols |= (!0 >> (64 - run)) << first;
        };
        if self.symbols >> (BACK - 1) & 1 == 1 && window.mark >> BACK & 1 == 1 {
            follow(&mut symbols, BACK as u32);
        }
        let mut firsts = window.mark & !window.rest & plain << 1 & DECIDED;
        while firsts != 0 {
            let bit = firsts.trailing_zeros();
            // As far as this run everything is decided, so what is free before it is known.
            let other = plain | symbols;
            let absorbed = self.absorbed.peek(other, window.newline, window.newline | window.slash);
            let other = other & !absorbed;
            let free = window.whole::<true>(other & !((other | window.blank) << 1));
            if (free | absorbed) >> (bit - 1) & 1 == 0 {
                follow(&mut symbols, bit);
            }
            firsts &= firsts - 1;
        }
        self.symbols = symbols >> STEP & CONTEXT;
        symbols
    }
}

/// Whether a pre-token starts at this capital, which a letter without case, or a mark, precedes.
#[cold]
fn splits(place: &Place, at: usize, contracted: usize) -> bool {
    let (text, tables): (_, &Tables) = (place.text, place.tables);
    let mut first = at;
    let before = loop {
        if first == place.start {
            break unicode::OTHER;
        }
        match tables.before(text, place.start, first) {
            (unicode::CASELESS | unicode::MARK, start) => first = start,
            (class, _) => break class,
        }
    };
    // After small letters the capitals of `[UX]*` are over.
    if before == unicode::LOWER && first != contracted {
        return true;
    }
    // Before them `[UX]*` takes the capitals too, and gives those after its last X back unless `[LX]+` can follow.
    let mut next = at;
    while next < text.len() {
        match tables.at(text, next) {
            (unicode::UPPER, length) => next += length,
            (class, _) => return !matches!(class, unicode::LOWER | unicode::CASELESS | unicode::MARK),
        }
    }
    true
}

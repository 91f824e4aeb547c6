//! `'s 't 'm 'd 'll 've 're`: rare enough to be read one at a time.

use super::super::window::STEP;

/// The length of the contraction whose apostrophe is at `at`, 0 if there is none. `FOLD` accepts what `(?i)` does: the
/// long s (U+017F) folds to s; no other letter here has a twin beyond ASCII.
#[inline(always)]
pub fn length<const FOLD: bool>(text: &[u8], at: usize) -> usize {
    let letter = |offset: usize| match text.get(at + offset) {
        Some(byte) if FOLD => byte | 0x20,
        Some(byte) => *byte,
        None => 0,
    };
    match (letter(1), letter(2)) {
        (b's' | b'd' | b'm' | b't', _) => 2,
        (b'l', b'l') | (b'v' | b'r', b'e') => 3,
        // C5 BF, where FOLD has set bit 5 of both
        (0xe5, _) if FOLD && text[at + 1..].starts_with("ſ".as_bytes()) => 3,
        _ => 0,
    }
}

/// Boundaries that contractions set, and those that they lift, carried over from window to window.
#[derive(Default)]
pub struct Carried {
    pub set: u64,
    pub lifted: u64,
}

impl Carried {
    /// Applies those set in this window, where none are lifted, and keeps what belongs to the next.
    #[inline(always)]
    pub fn apply_set(&mut self, boundaries: u64) -> u64 {
        let applied = boundaries | self.set;
        self.set >>= STEP;
        applied
    }

    /// Applies those set and lifted in this window, and keeps what belongs to the next.
    #[inline(always)]
    pub fn apply(&mut self, boundaries: u64) -> u64 {
        let applied = boundaries & !self.lifted | self.set;
        self.set >>= STEP;
        self.lifted >>= STEP;
        applied
    }
}

//! Where the named patterns put boundaries, as algebra on the masks of a window.

mod contraction;
mod digits;
mod gpt2;
mod gpt4;
mod o200k;
mod whitespace;

pub use gpt2::Gpt2;
pub use gpt4::Gpt4;
pub use o200k::O200k;

use super::unicode::Tables;
use super::window::Window;

/// Where a window lies.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub text: &'a [u8],
    /// Where the scan began; nothing before it counts.
    pub start: usize,
    /// The position of the window's bit 0; may be negative in the first windows.
    pub origin: isize,
    pub tables: &'a Tables,
}

impl Place<'_> {
    #[inline(always)]
    pub fn position(&self, bit: u32) -> usize {
        (self.origin + bit as isize) as usize
    }
}

/// A pattern's rules, with what they remember from window to window. A fresh one begins at a boundary.
pub trait Rules: Default {
    /// A mask of the positions at which pre-tokens start; bits outside the decided ones mean nothing. `WIDE` is false
    /// where the window is ASCII.
    fn boundaries<const WIDE: bool>(&mut self, window: &Window, place: &Place) -> u64;

    /// A boundary before this window that only this window has decided.
    fn late(&mut self) -> Option<usize> {
        None
    }

    /// The same at the end of the text.
    fn last(&mut self) -> Option<usize> {
        None
    }
}

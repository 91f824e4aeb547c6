//! Documents as every format gives them to a block.

use super::Note;

/// Documents back to back.
#[derive(Default)]
pub(super) struct Documents {
    pub text: Vec<u8>,
    pub ends: Vec<usize>,
    /// What lies beside each, where it was asked for.
    pub notes: Vec<Note>,
    pub nulls: u64,
}

//! Documents one after another, wherever they lie.

use crate::error::Result;

/// Gives documents one after another.
pub(super) trait Walk {
    /// The fields and the text of a document: best asked for in order. Without a text there is no more of the fields
    /// than its id.
    fn document(&mut self, number: u32) -> Result<(&str, Option<&str>)>;
}

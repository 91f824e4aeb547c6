//! What the machine wants: cache lines asked for early, huge pages, mapped files, keys that compare at once. Nothing
//! here knows what a token is.

pub mod huge;
pub mod key;
pub mod mapped_slice;
pub mod prefetch;
pub mod spare;

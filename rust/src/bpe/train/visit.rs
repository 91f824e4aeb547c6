//! How pre-tokens are handed on.

/// Takes bytes, hash and count of a pre-token.
pub(super) type Visit<'a> = &'a mut dyn FnMut(&[u8], u64, u64);

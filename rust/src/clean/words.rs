//! Words of a text, in any script.

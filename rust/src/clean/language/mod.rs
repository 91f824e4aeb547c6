//! What a text is written in, and what a classifier says of it.

//! Documents that equal others, or nearly do.

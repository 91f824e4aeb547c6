//! Parts that stand in other documents too.

//! The rules of Gopher, C4 and `FineWeb`: measures of a text, and the decision by thresholds.

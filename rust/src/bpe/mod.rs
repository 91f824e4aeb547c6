//! Byte-pair encoding: training merges and applying them.

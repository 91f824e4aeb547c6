//! Names that nobody else gives.

use std::hash::{BuildHasher, Hasher, RandomState};

/// What no other thread or process gets, on this machine or another: the first process of every container has the
/// number 1, and a folder may be shared by many of them.
pub(crate) fn suffix() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_suffix_comes_twice() {
        let many: std::collections::HashSet<String> = (0..10_000).map(|_| super::suffix()).collect();
        assert_eq!(many.len(), 10_000);
    }
}

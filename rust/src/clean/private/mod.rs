//! Addresses of people and machines, masked or tagged.

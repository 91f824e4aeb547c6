//! From the bytes of one pre-token to tokens.
//!
//! [`by_rank`] is the definition: the pair of lowest rank is joined first, the leftmost of equals, until no pair is
//! left. The others give the same tokens faster, and rest on one lemma (van Antwerpen and Neubeck, "Fast byte-pair
//! encoding"): in a regular vocabulary a row of tokens is what merging makes of its bytes exactly when every two
//! neighbours are what merging makes of theirs. So a row can be checked pair by pair ([`backtrack`]), two overlapping
//! rows that share a token at the same place can be joined there ([`windows`]), and a stretch between two equal tokens
//! can stand again after itself ([`repetition`]). [`lockstep`] needs no lemma: it merges by rank, sixteen pre-tokens at
//! once.

pub mod backtrack;
pub mod by_rank;
pub mod lockstep;
pub mod repetition;
pub mod windows;

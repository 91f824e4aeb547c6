//! A pre-token of any length from many places at once.
//!
//! What merging makes of a part of the pre-token is right but near the part's ends: where two overlapping parts hold
//! the same token at the same place, the one's tokens up to there and the other's from there on are what merging makes
//! of both together (by the lemma in `merge`). So the pre-token is merged in overlapping windows, side by side, and
//! joined at such tokens.

use super::backtrack::Backtracker;
use super::by_rank::Parts;
use super::lockstep::{merge_all, padded, MANY};
use crate::bpe::model::longest_prefix::Prefixes;
use crate::bpe::model::Model;

/// From window to window. The sixteen bytes that two have in common hold a common token nearly always: a token of
/// random letters has two.
const STRIDE: usize = 48;
/// Windows merged before they are joined: 33 KB.
const BATCH: usize = 128;

/// What merging makes of one window: the token that begins at each byte, where one does.
#[derive(Clone, Copy)]
struct Window {
    tokens: [u32; MANY],
    starts: u64,
}

/// Encodes pre-tokens of any length. Kept between calls.
#[derive(Default)]
pub struct WindowMerger {
    windows: Vec<Window>,
    pub tokens: Vec<u32>,
    pub backtracker: Backtracker,
    pub parts: Parts,
}

impl WindowMerger {
    /// The inner tokens of `pre_token`, which is not empty; `model` is regular.
    #[inline(always)]
    pub fn encode(&mut self, model: &Model, prefixes: &Prefixes, pre_token: &[u8]) -> &[u32] {
        self.tokens.clear();
        if self.join(model, prefixes, pre_token).is_some() {
            &self.tokens
        } else {
            self.backtracker.encode(model, prefixes, pre_token)
        }
    }

    /// None where two windows could not be joined.
    #[inline(always)]
    fn join(&mut self, model: &Model, prefixes: &Prefixes, pre_token: &[u8]) -> Option<()> {
        let Self { windows, tokens, backtracker, .. } = self;
        windows.resize(BATCH, Window { tokens: [0; MANY], starts: 0 });
        let count = 1 + pre_token.len().saturating_sub(MANY).div_ceil(STRIDE);
        let (mut first, mut entry) = (0, 0);
        loop {
            let ready = BATCH.min(count - first);
            let bytes = (first..first + ready).map(|number| {
                let start = number * STRIDE;
                padded(&pre_token[start..pre_token.len().min(start + MANY)])
            });
            let windows = &mut windows[..ready];
            merge_all::<MANY>(model, bytes, |number, merged| {
                windows[number] = Window { tokens: merged.tokens, starts: merged.left };
            });
            for (number, pair) in windows.windows(2).enumerate() {
                let [left, right] = pair else { break };
                let own = left.starts & (u64::MAX << entry);
                let shared =
                    ones((own >> STRIDE) & right.starts).find(|&at| left.tokens[STRIDE + at] == right.tokens[at]);
                entry = if let Some(at) = shared {
                    tokens.extend(ones(own & !(u64::MAX << (STRIDE + at))).map(|at| left.tokens[at]));
                    at
                } else {
                    let start = (first + number) * STRIDE;
                    let until = pre_token.len().min(start + STRIDE + MANY);
                    let row = backtracker.encode(model, prefixes, &pre_token[start + entry..until]);
                    bridge(model, row, left.tokens[entry], entry, right, tokens)?
                };
            }
            first += ready - 1;
            if first + 1 == count {
                let last = &windows[ready - 1];
                tokens.extend(ones(last.starts & (u64::MAX << entry)).map(|at| last.tokens[at]));
                return Some(());
            }
        }
    }
}

/// Appends the tokens of `row`, which begins `entry` bytes after the window before, up to one that it shares with
/// `window`, and returns where in the window. None where it shares none, or does not begin with the token `first`, on
/// which what was appended before relies.
#[cold]
fn bridge(
    model: &Model,
    row: &[u32],
    first: u32,
    entry: usize,
    window: &Window,
    tokens: &mut Vec<u32>,
) -> Option<usize> {
    let mut place = entry;
    let shared = row.iter().position(|&token| {
        let at = place.wrapping_sub(STRIDE);
        let shares = at < MANY && window.starts >> at & 1 == 1 && window.tokens[at] == token;
        place += if shares { 0 } else { model.length(token) };
        shares
    })?;
    if row[0] != first {
        return None;
    }
    tokens.extend_from_slice(&row[..shared]);
    Some(place - STRIDE)
}

/// The places of the bits that are set.
#[inline(always)]
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (at < 64).then_some(at)
    })
}

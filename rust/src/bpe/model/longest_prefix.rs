//! The longest token that bytes start with: one look-up for each length that a token with these first bytes can have.

use std::collections::HashMap;

use crate::bpe::model::Model;
use crate::memory::key::{fold, key_of, of_word, LONGEST};
use crate::memory::mapped_slice::MappedSlice;

const EMPTY: u32 = u32::MAX;
/// What `shorter` says of a byte.
const NONE: u32 = u32::MAX;
/// Bits of the filter of first bytes: 64 KiB. GPT-2's tokens fill a seventh of it.
const FILTER_BITS: u32 = 15;
/// Bytes that the filter is asked about.
const FIRST: usize = 4;

/// Tokens that begin with the same 16 bytes, the longest first.
type Family = Vec<(u32, Box<[u8]>)>;

pub struct Prefixes {
    /// By a hash of four bytes: bit n says that a token of n bytes may start with them, bit 0 that a longer one may.
    pub lengths: MappedSlice<u16>,
    /// A hash table of tokens of 3 to 15 bytes: the inner number above, bits of the hash below.
    pub slots: MappedSlice<u32>,
    shift: u32,
    /// How many low bits of a slot are the hash's.
    tag_bits: u32,
    /// Tokens by inner number, as keys.
    pub keys: MappedSlice<u128>,
    /// Tokens that are longer and their bytes, the longest first, by their first 16 bytes.
    long: HashMap<u128, Family>,
    /// The longest token that is a proper prefix of each token; of a byte, `NONE`.
    pub shorter: MappedSlice<u32>,
}

impl Prefixes {
    /// `tokens`: by inner number.
    pub fn new(model: &Model, tokens: &[&[u8]]) -> Self {
        let bits = (tokens.len() * 2).next_power_of_two().trailing_zeros().max(9);
        let number_bits = usize::BITS - tokens.len().leading_zeros();
        let tag_bits = 32 - number_bits;
        let keys: MappedSlice<u128> =
            tokens.iter().map(|token| if token.len() <= LONGEST { key_of(token) } else { 0 }).collect();
        let (mut lengths, mut slots) = (vec![0_u16; 1 << FILTER_BITS], vec![EMPTY; 1 << bits]);
        for (token, (bytes, &key)) in (0_u32..).zip(tokens.iter().zip(&*keys)) {
            if let Some(first) = bytes.first_chunk::<16>() {
                lengths[filter_place(u128::from_le_bytes(*first))] |= 1;
            } else if bytes.len() > 2 {
                if bytes.len() >= FIRST {
                    lengths[filter_place(key)] |= 1 << bytes.len();
                }
                let hash = fold(key);
                let mut at = (hash >> (64 - bits)) as usize;
                while slots[at] != EMPTY {
                    at = (at + 1) & (slots.len() - 1);
                }
                slots[at] = token << tag_bits | hash as u32 & ((1 << tag_bits) - 1);
            }
        }
        let mut prefixes = Self {
            lengths: lengths.into(),
            slots: slots.into(),
            shift: 64 - bits,
            tag_bits,
            keys,
            long: long(tokens),
            shorter: Vec::new().into(),
        };
        let shorter = |bytes: &&[u8]| match &bytes[..bytes.len() - 1] {
            [] => NONE,
            rest => prefixes.longest(model, rest),
        };
        prefixes.shorter = tokens.iter().map(shorter).collect();
        prefixes
    }

    /// The same from tables made before; None where they do not fit each other.
    pub fn of_tables(
        tokens: &[&[u8]],
        lengths: MappedSlice<u16>,
        slots: MappedSlice<u32>,
        keys: MappedSlice<u128>,
        shorter: MappedSlice<u32>,
    ) -> Option<Self> {
        let bits = slots.len().trailing_zeros();
        let tag_bits = 32 - (usize::BITS - tokens.len().leading_zeros());
        let fits = lengths.len() == 1 << FILTER_BITS
            && slots.len().is_power_of_two()
            && bits > 0
            && slots.contains(&EMPTY)
            && keys.len() == tokens.len()
            && shorter.len() == tokens.len();
        fits.then(|| Self { lengths, slots, shift: 64 - bits, tag_bits, keys, long: long(tokens), shorter })
    }

    #[inline(always)]
    fn find(&self, key: u128) -> Option<u32> {
        let hash = fold(key);
        let mask = (1 << self.tag_bits) - 1;
        let mut at = (hash >> self.shift) as usize;
        loop {
            // SAFETY: a shifted hash has fewer bits than there are slots, and the step wraps inside them
            let slot = unsafe { *self.slots.get_unchecked(at) };
            if (slot ^ hash as u32) & mask == 0 && slot != EMPTY {
                let token = slot >> self.tag_bits;
                if self.keys[token as usize] == key {
                    return Some(token);
                }
            } else if slot == EMPTY {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// The longest token that starts the `size` bytes, 1 to 15, at the low end of `word`; what is above them is
    /// ignored.
    #[inline(always)]
    pub fn longest_of_word(&self, model: &Model, word: u128, size: usize) -> u32 {
        // SAFETY: a hash of `FILTER_BITS` bits
        let lengths = unsafe { *self.lengths.get_unchecked(filter_place(word)) };
        let mut lengths = u32::from(lengths) & ((2 << size) - 1) & !((1 << FIRST) - 1);
        while lengths != 0 {
            let length = lengths.ilog2();
            if let Some(token) = self.find(of_word(word, length as usize)) {
                return token;
            }
            lengths ^= 1 << length;
        }
        if size >= 3 {
            if let Some(token) = self.find(of_word(word, 3)) {
                return token;
            }
        }
        if size >= 2 {
            let rank = model.byte_pairs[usize::from(word as u8) << 8 | usize::from((word >> 8) as u8)];
            if rank != u32::MAX {
                return model.results[rank as usize];
            }
        }
        u32::from(word as u8)
    }

    /// The longest token that `text`, which is not empty, starts with.
    #[inline(always)]
    pub fn longest(&self, model: &Model, text: &[u8]) -> u32 {
        if let Some(first) = text.first_chunk() {
            let word = u128::from_le_bytes(*first);
            if let Some(tokens) = self.deep(word) {
                if let Some((token, _)) = tokens.iter().find(|(_, bytes)| text.starts_with(bytes)) {
                    return *token;
                }
            }
            return self.longest_of_word(model, word, LONGEST);
        }
        let mut bytes = [0; 16];
        bytes[..text.len()].copy_from_slice(text);
        self.longest_of_word(model, u128::from_le_bytes(bytes), text.len())
    }

    /// Tokens that go on after these sixteen bytes.
    #[inline(always)]
    fn deep(&self, word: u128) -> Option<&Family> {
        let may = self.lengths[filter_place(word)] & 1 == 1;
        may.then(|| self.long.get(&word)).flatten()
    }

    /// The longest token that is a proper prefix of this one.
    #[inline(always)]
    pub fn shorter(&self, token: u32) -> Option<u32> {
        Some(self.shorter[token as usize]).filter(|&token| token != NONE)
    }
}

/// Tokens of 16 bytes and more by their first 16, the longest first.
fn long(tokens: &[&[u8]]) -> HashMap<u128, Family> {
    let mut long: HashMap<u128, Family> = HashMap::new();
    for (token, bytes) in (0_u32..).zip(tokens) {
        if let Some(first) = bytes.first_chunk() {
            long.entry(u128::from_le_bytes(*first)).or_default().push((token, (*bytes).into()));
        }
    }
    for tokens in long.values_mut() {
        tokens.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.len()));
    }
    long
}

#[inline(always)]
fn filter_place(word: u128) -> usize {
    ((word as u32).wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS)) as usize
}

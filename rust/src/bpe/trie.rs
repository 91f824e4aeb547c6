//! The longest token at a place: a trie whose edges lie in one open-addressed table.

use super::model::Model;

const EMPTY: u64 = u64::MAX;
/// A node under which no edge starts, and what a step into nothing returns.
const NONE: u32 = u32::MAX;

pub struct Trie {
    /// (node, byte) in the upper half, child in the lower. A node that is a token has the token's inner number, so that
    /// a step needs no second look.
    slots: Box<[u64]>,
    shift: u32,
    tokens: u32,
    /// The child of two bytes, since every walk starts with them: `NONE` where no token goes on so far.
    two: Box<[u32]>,
    /// The longest token that is a proper prefix of each token; of a byte, `NONE`.
    shorter: Vec<u32>,
}

impl Trie {
    pub fn new(model: &Model) -> Self {
        let tokens = model.tokens.len() as u32;
        // every byte but the last may open a node that is no token
        let most: usize = model.tokens.iter().map(Vec::len).sum();
        let mut edges = Edges { slots: vec![EMPTY; 1 << 16], shift: 64 - 16, filled: 0 };
        let mut nodes = tokens;
        let mut shorter = vec![NONE; tokens as usize];
        // short tokens first: then every prefix that is a token has its number before a longer one passes through it
        let mut order: Vec<u32> = (0..tokens).collect();
        order.sort_by_key(|&token| model.tokens[token as usize].len());
        for token in order {
            let bytes = &model.tokens[token as usize];
            let (&last, path) = bytes.split_last().expect("no token is empty");
            let Some((&first, path)) = path.split_first() else { continue };
            let (mut node, mut longest) = (u32::from(first), u32::from(first));
            for &byte in path {
                node = match edges.get(node, byte) {
                    NONE => {
                        nodes += 1;
                        edges.insert(node, byte, nodes - 1);
                        nodes - 1
                    }
                    child => child,
                };
                if node < tokens {
                    longest = node;
                }
            }
            edges.insert(node, last, token);
            shorter[token as usize] = longest;
        }
        debug_assert!(nodes as usize <= most + tokens as usize);
        let two = (0..1_u32 << 16).map(|pair| edges.get(pair >> 8, pair as u8)).collect();
        Self { slots: edges.slots.into_boxed_slice(), shift: edges.shift, tokens, two, shorter }
    }

    /// The longest token that `text`, which is not empty, starts with.
    #[inline]
    pub fn longest(&self, text: &[u8]) -> u32 {
        let (&[first, second], rest) = text.split_first_chunk().unwrap_or((&[text[0], 0], &[]));
        let mut longest = u32::from(first);
        if text.len() == 1 {
            return longest;
        }
        let mut node = self.two[usize::from(first) << 8 | usize::from(second)];
        let mut rest = rest.iter();
        while node != NONE {
            if node < self.tokens {
                longest = node;
            }
            let Some(&byte) = rest.next() else { break };
            node = find(&self.slots, self.shift, node, byte);
        }
        longest
    }

    /// The longest token that is a proper prefix of this one.
    #[inline(always)]
    pub fn shorter(&self, token: u32) -> Option<u32> {
        Some(self.shorter[token as usize]).filter(|&token| token != NONE)
    }
}

struct Edges {
    slots: Vec<u64>,
    shift: u32,
    filled: usize,
}

#[inline(always)]
fn place(key: u32, shift: u32) -> usize {
    (u64::from(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> shift) as usize
}

#[inline(always)]
fn find(slots: &[u64], shift: u32, node: u32, byte: u8) -> u32 {
    let key = node << 8 | u32::from(byte);
    let mut at = place(key, shift);
    loop {
        // SAFETY: `place` yields fewer bits than the table has, and the step wraps inside it
        let slot = unsafe { *slots.get_unchecked(at) };
        if (slot >> 32) as u32 == key && slot != EMPTY {
            return slot as u32;
        }
        if slot == EMPTY {
            return NONE;
        }
        at = (at + 1) & (slots.len() - 1);
    }
}

impl Edges {
    fn get(&self, node: u32, byte: u8) -> u32 {
        find(&self.slots, self.shift, node, byte)
    }

    fn insert(&mut self, node: u32, byte: u8, child: u32) {
        if self.filled * 2 >= self.slots.len() {
            let bigger = vec![EMPTY; self.slots.len() * 2];
            self.shift -= 1;
            for slot in std::mem::replace(&mut self.slots, bigger) {
                if slot != EMPTY {
                    self.put(slot);
                }
            }
        }
        self.filled += 1;
        self.put(u64::from(node << 8 | u32::from(byte)) << 32 | u64::from(child));
    }

    fn put(&mut self, slot: u64) {
        let mut at = place((slot >> 32) as u32, self.shift);
        while self.slots[at] != EMPTY {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }
}

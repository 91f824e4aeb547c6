//! Pre-tokens that no cache should hold: very long ones, and those of characters that hardly ever come in the same
//! order twice, such as Han. They are cut where no token spans two characters, and the segments are looked up, or
//! merged from many places at once.

use std::ops::Range;

use super::batch::Batch;
use super::isa::{Isa, Work};
use super::long_cache;
use super::packed_ids::Packing;
use super::ring::CHARACTER;
use super::tables::EncodeTables;
use crate::bpe::merge::repetition::Repetition;
use crate::bpe::model::token_borders::wide_char;
use crate::id::Id;
use crate::memory::key::{key_at, key_of, LONGEST};

/// Misses of one pre-token that are encoded together; a pre-token may have millions.
const ENOUGH: usize = 4096;

impl<V: Packing, T: Id, I: Isa> Batch<'_, V, T, I> {
    /// Writes the ids of a pre-token, or notes segments of it for later. What repeats itself is encoded without most of
    /// its repetitions.
    #[inline(always)]
    pub(super) fn cut_up(&mut self, range: Range<usize>) {
        let pre_token = &self.text[range.clone()];
        if !self.model.whole.is_empty() {
            if let Some(&id) = self.model.whole.get(pre_token) {
                return self.write(id);
            }
        }
        let backtracker = &mut self.scratch.window_merger.backtracker;
        let prefixes = self.tables.prefixes.as_ref();
        let repetition = prefixes.and_then(|prefixes| Repetition::find(self.model, prefixes, backtracker, pre_token));
        let Some(repetition) = repetition else { return self.segments(range) };
        self.settle();
        let begin = self.count;
        self.segments(range.start + repetition.bytes..range.end);
        self.settle();
        // SAFETY: the ids from `begin` on are those of the rest, and `out` has room for one for each byte of the
        // pre-token
        let repeated = unsafe { repetition.repeat(self.model, self.start().add(begin), self.count - begin) };
        self.count = begin + repeated.unwrap_or(0);
        if repeated.is_none() {
            self.segments(range);
        }
    }

    /// Cuts where no token spans two characters; what lies between is written, or noted for later.
    fn segments(&mut self, range: Range<usize>) {
        let isa = self.isa;
        isa.run(Segments { batch: self, range });
    }

    #[inline(always)]
    fn cut_at_borders(&mut self, range: Range<usize>) {
        let (from, pre_token) = (range.start, &self.text[range.clone()]);
        let borders = &self.tables.borders;
        let mut start = 0;
        // the character before, where it is a whole one beyond ASCII
        let mut left: Option<u32> = None;
        if pre_token.is_ascii() {
            let long = pre_token.len() > long_cache::LONGEST;
            if self.tables.prefixes.is_some() && long && !self.tables.falls_apart(pre_token) {
                return self.write_merged(range);
            }
            for (at, pair) in (1..).zip(pre_token.windows(2)) {
                if !borders.joins_bytes(pair[0], pair[1]) {
                    self.segment(from + start..from + at, None);
                    start = at;
                }
            }
        } else {
            let mut at = 0;
            while at < pre_token.len() {
                let (char, end) = match wide_char(pre_token, at) {
                    Some((code, end)) => (Some(code), end),
                    None => (None, at + 1),
                };
                if at > 0 {
                    let joined = borders.joins_bytes(pre_token[at - 1], pre_token[at])
                        || matches!((left, char), (Some(left), Some(right)) if borders.joins_chars(left, right));
                    if !joined {
                        self.segment(from + start..from + at, left);
                        start = at;
                    }
                }
                left = char;
                at = end;
            }
        }
        self.segment(from + start..range.end, left);
        self.flush();
    }

    /// A stretch between two cuts; `last` is its last character.
    #[inline(always)]
    fn segment(&mut self, range: Range<usize>, last: Option<u32>) {
        let (text, scratch) = (self.text, &mut *self.scratch);
        let bytes = &text[range.clone()];
        // a token that merging does not lead to is no token where it is not the whole pre-token
        let known = self.model.whole.is_empty();
        match last {
            Some(code) if bytes.len() <= 3 && code < 1 << 16 && bytes.len() == 2 + usize::from(code >= 0x800) => {
                if scratch.ring.len() == 0 {
                    return self.write_packed(self.tables.chars[code as usize]);
                }
                scratch.ring.push(code.into(), CHARACTER);
            }
            _ if bytes.len() <= LONGEST && known => {
                let inside = range.start + 16 <= text.len();
                // SAFETY: the text has 16 bytes there
                let key = if inside { unsafe { key_at(bytes.as_ptr(), bytes.len()) } } else { key_of(bytes) };
                let home = scratch.cache.home(key);
                scratch.cache.prefetch(home);
                scratch.ring.push(key, home as u32);
            }
            _ => {
                self.flush();
                if bytes.len() > long_cache::LONGEST || !known {
                    return self.write_merged(range);
                }
                self.scratch.misses.add_long(&self.scratch.long, bytes, range.start, self.count);
            }
        }
        if self.scratch.ring.is_full() {
            self.flush();
        }
        if self.scratch.misses.len() >= ENOUGH {
            self.flush();
            self.settle();
        }
    }

    /// Writes the ids of all segments of the ring that are known and notes the others.
    #[inline(always)]
    fn flush(&mut self) {
        if self.scratch.ring.len() > 0 {
            let isa = self.isa;
            isa.run(Flush(self));
        }
    }

    #[inline(always)]
    fn write_ring(&mut self) {
        for at in 0..self.scratch.ring.len() {
            let (key, home) = self.scratch.ring.get(at);
            if home == CHARACTER {
                self.write_packed(self.tables.chars[key as usize]);
                continue;
            }
            // SAFETY: `segment` asked this cache for the home
            let entry = unsafe { self.scratch.cache.at_home(home as usize) };
            if entry.key == key {
                self.write_packed(entry.ids);
            } else {
                self.scratch.misses.add(&self.scratch.cache, key, home as usize, self.count);
            }
        }
        self.scratch.ring.clear();
    }

    /// Writes the ids of a stretch by merging it, without the cache.
    fn write_merged(&mut self, range: Range<usize>) {
        let (mut out, start) = (self.start(), self.count);
        let tokens = self.tables.tokens(self.model, &self.text[range], &mut self.scratch.window_merger, self.isa);
        // SAFETY: there is room for an id for each byte, and there are no more tokens than bytes
        unsafe {
            out = out.add(start);
            for (place, &token) in tokens.iter().enumerate() {
                out.add(place).write(T::from_u32(self.model.ids[token as usize]));
            }
        }
        self.count = start + tokens.len();
    }
}

impl EncodeTables {
    /// Whether most of an ASCII pre-token can be cut into segments of a few bytes, as few as come again and again;
    /// longer ones of random letters do not, and would fill the cache.
    fn falls_apart(&self, pre_token: &[u8]) -> bool {
        let sample = &pre_token[..pre_token.len().min(1024)];
        5 * sample.windows(2).filter(|pair| !self.borders.joins_bytes(pair[0], pair[1])).count() > sample.len()
    }
}

/// A stretch of the text to be cut where no token spans.
struct Segments<'a, 'b, V, T, I> {
    batch: &'b mut Batch<'a, V, T, I>,
    range: Range<usize>,
}

impl<V: Packing, T: Id, I: Isa> Work for Segments<'_, '_, V, T, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.batch.cut_at_borders(self.range);
    }
}

/// The ring of a batch.
struct Flush<'a, 'b, V, T, I>(&'b mut Batch<'a, V, T, I>);

impl<V: Packing, T: Id, I: Isa> Work for Flush<'_, '_, V, T, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.write_ring();
    }
}

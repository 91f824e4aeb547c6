//! Pre-tokens that are in no cache: very long ones, and those whose characters seldom come twice in the same company.
//! They are cut where no token spans, and the segments are sought, or merged from many places at once.

use super::long_cache;
use super::packed_ids::Packing;
use super::ring::{AHEAD, CHARACTER};
use super::scratch::Scratch;
use super::tables::EncodeTables;
use crate::bpe::merge::by_rank::merge;
use crate::bpe::merge::repetition::Repetition;
use crate::bpe::merge::windows::WindowMerger;
use crate::bpe::model::token_borders::wide_char;
use crate::bpe::model::Model;
use crate::id::Id;
use crate::memory::key::{key_at, key_of, LONGEST};

/// Pending segments of one pre-token that are encoded together; a pre-token may have millions.
const ENOUGH: usize = 4096;
impl EncodeTables {
    /// Writes the ids of `text[from..to]` after `count` ids, or notes segments of it for later; returns how many ids
    /// there are then.
    ///
    /// # Safety
    /// As for [`EncodeTables::encode`].
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what the loop has at hand")]
    pub(super) unsafe fn hard<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        from: usize,
        to: usize,
        scratch: &mut Scratch,
        out: *mut T,
        count: usize,
    ) -> usize {
        // SAFETY: as the caller promised
        unsafe {
            if !model.whole.is_empty() {
                if let Some(&id) = model.whole.get(&text[from..to]) {
                    out.add(count).write(T::from_u32(id));
                    return count + 1;
                }
            }
            let prefixes = self.prefixes.as_ref();
            let repetition = prefixes.and_then(|prefixes| {
                Repetition::find(model, prefixes, &mut scratch.window_merger.backtracker, &text[from..to])
            });
            let Some(repetition) = repetition else {
                return self.segments::<V, T>(model, text, from, to, scratch, out, count);
            };
            let begin = self.settle::<V, T>(model, text, scratch, out, count);
            let end = self.segments::<V, T>(model, text, from + repetition.bytes, to, scratch, out, begin);
            let end = self.settle::<V, T>(model, text, scratch, out, end);
            match repetition.repeat(model, out.add(begin), end - begin) {
                Some(ids) => begin + ids,
                None => self.segments::<V, T>(model, text, from, to, scratch, out, begin),
            }
        }
    }

    /// Cuts where no token spans two characters; what lies between is written, or noted for later.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what the loop has at hand")]
    unsafe fn segments<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        from: usize,
        to: usize,
        scratch: &mut Scratch,
        out: *mut T,
        mut count: usize,
    ) -> usize {
        let pre_token = &text[from..to];
        let mut start = 0;
        let mut segment = |range: std::ops::Range<usize>, last, count| {
            // SAFETY: as the caller promised
            unsafe {
                self.segment::<V, T>(model, text, from + range.start..from + range.end, last, scratch, out, count)
            }
        };
        // the character before, where it is a whole one beyond ASCII
        let mut left: Option<u32> = None;
        if pre_token.is_ascii() {
            if self.prefixes.is_some() && pre_token.len() > long_cache::LONGEST && !self.falls_apart(pre_token) {
                // SAFETY: as the caller promised
                return unsafe { self.exact(model, pre_token, &mut scratch.window_merger, out, count) };
            }
            for (at, pair) in (1..).zip(pre_token.windows(2)) {
                if !self.borders.joins_bytes(pair[0], pair[1]) {
                    count = segment(start..at, None, count);
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
                    let joined = self.borders.joins_bytes(pre_token[at - 1], pre_token[at])
                        || matches!((left, char), (Some(left), Some(right)) if self.borders.joins_chars(left, right));
                    if !joined {
                        count = segment(start..at, left, count);
                        start = at;
                    }
                }
                left = char;
                at = end;
            }
        }
        count = segment(start..pre_token.len(), left, count);
        // SAFETY: as the caller promised
        unsafe { scratch.ring.flush::<V, T>(&self.chars, &scratch.cache, &mut scratch.misses, out, count) }
    }

    /// A stretch between two cuts; `last` is its last character.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what the loop has at hand")]
    unsafe fn segment<V: Packing, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        range: std::ops::Range<usize>,
        last: Option<u32>,
        scratch: &mut Scratch,
        out: *mut T,
        mut count: usize,
    ) -> usize {
        let bytes = &text[range.clone()];
        // a token that merging does not lead to is no token where it is not the whole pre-token
        let known = model.whole.is_empty();
        // SAFETY: as the caller promised; 16 bytes can be read where the text has them
        unsafe {
            match last {
                Some(code) if bytes.len() <= 3 && code < 1 << 16 && bytes.len() == 2 + usize::from(code >= 0x800) => {
                    if scratch.ring.count == 0 {
                        return count + V::unpack(self.chars[code as usize], out.add(count));
                    }
                    scratch.ring.push(code.into(), CHARACTER);
                }
                _ if bytes.len() <= LONGEST && known => {
                    let inside = range.start + 16 <= text.len();
                    let key = if inside { key_at(bytes.as_ptr(), bytes.len()) } else { key_of(bytes) };
                    let home = scratch.cache.home(key);
                    scratch.cache.prefetch(home);
                    scratch.ring.push(key, home as u32);
                }
                _ => {
                    let Scratch { ring, cache, misses, long, .. } = &mut *scratch;
                    count = ring.flush::<V, T>(&self.chars, cache, misses, out, count);
                    if bytes.len() <= long_cache::LONGEST && known {
                        misses.add_long(long, bytes, range.start, count);
                    } else {
                        return self.exact(model, bytes, &mut scratch.window_merger, out, count);
                    }
                }
            }
            if scratch.ring.count == AHEAD {
                let Scratch { ring, cache, misses, .. } = &mut *scratch;
                count = ring.flush::<V, T>(&self.chars, cache, misses, out, count);
            }
            if scratch.misses.len() >= ENOUGH {
                let Scratch { ring, cache, misses, .. } = &mut *scratch;
                count = ring.flush::<V, T>(&self.chars, cache, misses, out, count);
                count = self.settle::<V, T>(model, text, scratch, out, count);
            }
            count
        }
    }

    /// Whether most of an ASCII pre-token can be cut into segments of a few bytes, as few as come again and again;
    /// longer ones of random letters do not, and would fill the cache.
    fn falls_apart(&self, pre_token: &[u8]) -> bool {
        let sample = &pre_token[..pre_token.len().min(1024)];
        5 * sample.windows(2).filter(|pair| !self.borders.joins_bytes(pair[0], pair[1])).count() > sample.len()
    }

    /// Writes the ids of a pre-token after `count` ids, without the cache; returns how many there are then.
    unsafe fn exact<T: Id>(
        &self,
        model: &Model,
        pre_token: &[u8],
        window_merger: &mut WindowMerger,
        out: *mut T,
        count: usize,
    ) -> usize {
        let tokens = self.tokens(model, pre_token, window_merger);
        for (place, &token) in tokens.iter().enumerate() {
            // SAFETY: there are no more tokens than bytes
            unsafe { out.add(count + place).write(T::from_u32(model.ids[token as usize])) };
        }
        count + tokens.len()
    }

    /// The inner tokens of a pre-token, without the cache.
    pub(super) fn tokens<'a>(&self, model: &Model, pre_token: &[u8], window_merger: &'a mut WindowMerger) -> &'a [u32] {
        let Some(prefixes) = &self.prefixes else {
            merge(model, pre_token, &mut window_merger.parts);
            window_merger.tokens.clear();
            window_merger.tokens.extend(window_merger.parts.tokens());
            return &window_merger.tokens;
        };
        #[cfg(target_arch = "x86_64")]
        if self.vectors {
            // SAFETY: the processor was asked
            return unsafe { window_merger.encode_avx2(model, prefixes, pre_token) };
        }
        window_merger.encode(model, prefixes, pre_token)
    }
}

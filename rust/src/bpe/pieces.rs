//! Pre-tokens to ids: from the cache where they were seen before, character by character where no token spans two,
//! else by the exact encoder.

use super::cache::{key, Cache, Layout, LONGEST};
use super::encode::{Id, Scratch};
use super::joints::{wide_char, Joints};
use super::merge::{merge, merge_few, FEW};
use super::model::Model;
use super::trie::Trie;

/// Pieces whose cache lines are fetched ahead: 32 lines are on their way while the 32 before are used.
const AHEAD: usize = 32;
/// What is stored in place of a line for pieces that are not looked up.
const NO_LINE: usize = usize::MAX;

/// 2^18 lines are 16 MB a thread and hold 524,288 pieces: 60 MB of English prose have 300,000 besides the vocabulary.
/// With half the room the same text took 1.6 times as long.
const BITS: u32 = 18;

/// The vocabulary in the forms that encoding reads.
pub struct Pieces {
    trie: Trie,
    joints: Joints,
    /// Ids of every character of two or three bytes that stands alone, packed.
    chars: Box<[[u64; 2]]>,
    /// Every token of up to 15 bytes and its own id, packed.
    seeds: Vec<(u128, [u64; 2])>,
}

impl Pieces {
    pub fn new<V: Layout>(model: &Model) -> Self {
        let mut seeds = Vec::new();
        for (token, bytes) in model.tokens.iter().enumerate() {
            if bytes.len() <= LONGEST && (model.regular || token < 256) {
                seeds.push((key(bytes, false), V::pack(&[model.ids[token]])));
            }
        }
        for (bytes, &id) in model.whole.iter().filter(|(bytes, _)| bytes.len() <= LONGEST) {
            seeds.push((key(bytes, false), V::pack(&[id])));
        }
        let mut parts = super::merge::Parts::default();
        let mut text = [0; 4];
        let chars = (0..1_u32 << 16).map(|code| {
            let Some(char) = char::from_u32(code).filter(|char| !char.is_ascii()) else { return [0; 2] };
            merge(model, char.encode_utf8(&mut text).as_bytes(), &mut parts);
            let ids: Vec<u32> = parts.tokens().map(|token| model.ids[token as usize]).collect();
            V::pack(&ids)
        });
        Self { trie: Trie::new(model), joints: Joints::new(model), chars: chars.collect(), seeds }
    }

    /// A cache that holds the vocabulary.
    pub fn cache(&self) -> Cache {
        let mut cache = Cache::new(BITS);
        for &(key, ids) in &self.seeds {
            cache.seed(key, ids);
        }
        cache
    }

    /// Writes the ids of the pre-tokens of `text` that end at `ends`, relative to `start`; returns how many.
    ///
    /// # Safety
    /// `out` has room for as many ids as the pre-tokens have bytes and `SLACK` more.
    pub unsafe fn encode<V: Layout, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        start: usize,
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        let mut keys = [0_u128; AHEAD];
        let mut lines = [NO_LINE; AHEAD];
        let mut froms = [0_u32; AHEAD + 1];
        let text = &text[start..];
        let mut at = out;
        let mut from = 0;
        for ends in ends.chunks(AHEAD) {
            for (slot, &end) in ends.iter().enumerate() {
                froms[slot] = from;
                let begin = from as usize;
                let length = (end - from) as usize;
                from = end;
                lines[slot] = NO_LINE;
                if length <= LONGEST {
                    // SAFETY: ends ascend and do not pass the text's
                    let piece = unsafe { text.get_unchecked(begin..begin + length) };
                    let key = key(piece, begin + 16 <= text.len());
                    keys[slot] = key;
                    // characters of three bytes from U+3000 on, alone or after a space: nearly all stand alone
                    if (key as u8) < 0xe3 && ((key >> 8) as u8) < 0xe3 {
                        let line = scratch.cache.line(key);
                        scratch.cache.prefetch(line);
                        lines[slot] = line;
                    }
                }
            }
            froms[ends.len()] = from;
            for slot in 0..ends.len() {
                let found = if lines[slot] == NO_LINE { None } else { scratch.cache.get(lines[slot], keys[slot]) };
                // SAFETY: every write stays within the bytes of its piece and the slack, as the caller promised
                unsafe {
                    let count = if let Some(ids) = found {
                        V::unpack(ids, at)
                    } else {
                        let piece = text.get_unchecked(froms[slot] as usize..froms[slot + 1] as usize);
                        self.miss::<V, T>(model, piece, lines[slot], keys[slot], scratch, at)
                    };
                    at = at.add(count);
                }
            }
        }
        // SAFETY: both lie in the caller's room
        unsafe { at.offset_from(out) as usize }
    }

    /// A pre-token that the cache does not hold.
    #[inline(never)]
    unsafe fn miss<V: Layout, T: Id>(
        &self,
        model: &Model,
        piece: &[u8],
        line: usize,
        key: u128,
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        if !model.whole.is_empty() {
            if let Some(&id) = model.whole.get(piece) {
                // SAFETY: one id for at least one byte
                unsafe { out.write(T::from_u32(id)) };
                return 1;
            }
        }
        // SAFETY: as the caller promised
        unsafe {
            if line != NO_LINE {
                self.seek::<V, T>(model, piece, line, key, scratch, out)
            } else if piece.is_ascii() {
                self.exact::<T>(model, piece, scratch, out)
            } else {
                self.walk::<V, T>(model, piece, scratch, out)
            }
        }
    }

    /// Cuts where no token spans two characters and encodes what lies between.
    unsafe fn walk<V: Layout, T: Id>(&self, model: &Model, piece: &[u8], scratch: &mut Scratch, out: *mut T) -> usize {
        let mut written = 0;
        let (mut from, mut at) = (0, 0);
        // the character before, where it is a whole one beyond ASCII
        let mut left: Option<u32> = None;
        while at < piece.len() {
            let (char, end) = match wide_char(piece, at) {
                Some((code, end)) => (Some(code), end),
                None => (None, at + 1),
            };
            if at > 0 {
                let joined = self.joints.joins_bytes(piece[at - 1], piece[at])
                    || matches!((left, char), (Some(left), Some(right)) if self.joints.joins_chars(left, right));
                if !joined {
                    // SAFETY: as the caller promised
                    written +=
                        unsafe { self.segment::<V, T>(model, &piece[from..at], left, scratch, out.add(written)) };
                    from = at;
                }
            }
            left = char;
            at = end;
        }
        // SAFETY: as the caller promised
        written + unsafe { self.segment::<V, T>(model, &piece[from..], left, scratch, out.add(written)) }
    }

    /// A stretch between two cuts; `last` is its last character.
    #[inline(always)]
    unsafe fn segment<V: Layout, T: Id>(
        &self,
        model: &Model,
        bytes: &[u8],
        last: Option<u32>,
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        // SAFETY: as the caller promised
        unsafe {
            match last {
                Some(code) if bytes.len() <= 3 && code < 1 << 16 && bytes.len() == 2 + usize::from(code >= 0x800) => {
                    V::unpack(self.chars[code as usize], out)
                }
                _ if bytes.len() <= LONGEST && model.whole.is_empty() => {
                    let key = key(bytes, false);
                    let line = scratch.cache.line(key);
                    match scratch.cache.get(line, key) {
                        Some(ids) => V::unpack(ids, out),
                        None => self.seek::<V, T>(model, bytes, line, key, scratch, out),
                    }
                }
                _ => self.exact::<T>(model, bytes, scratch, out),
            }
        }
    }

    /// Encodes and keeps.
    #[inline(never)]
    unsafe fn seek<V: Layout, T: Id>(
        &self,
        model: &Model,
        bytes: &[u8],
        line: usize,
        key: u128,
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        if let Some(ids) = scratch.cache.get_beside(line, key) {
            // SAFETY: as the caller promised
            return unsafe { V::unpack(ids, out) };
        }
        // SAFETY: as the caller promised
        let count = unsafe { self.exact(model, bytes, scratch, out) };
        if count <= V::MOST {
            scratch.ids.clear();
            // SAFETY: these were just written
            scratch.ids.extend((0..count).map(|place| unsafe { out.add(place).read() }.to_u32()));
            scratch.cache.put(line, key, V::pack(&scratch.ids));
        }
        count
    }

    /// Encodes without the cache.
    unsafe fn exact<T: Id>(&self, model: &Model, bytes: &[u8], scratch: &mut Scratch, out: *mut T) -> usize {
        let write = |place: usize, token: u32| {
            // SAFETY: there are no more tokens than bytes
            unsafe { out.add(place).write(T::from_u32(model.ids[token as usize])) };
        };
        if bytes.len() <= FEW {
            let mut tokens = [0; FEW];
            let count = merge_few(model, bytes, &mut tokens);
            tokens[..count].iter().enumerate().for_each(|(place, &token)| write(place, token));
            count
        } else if model.regular {
            let tokens = scratch.path.encode(model, &self.trie, bytes);
            tokens.iter().enumerate().for_each(|(place, &token)| write(place, token));
            tokens.len()
        } else {
            merge(model, bytes, &mut scratch.parts);
            scratch.parts.tokens().enumerate().map(|(place, token)| write(place, token)).count()
        }
    }
}

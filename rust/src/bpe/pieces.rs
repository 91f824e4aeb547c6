//! Pre-tokens to ids, from the cache where they were seen before.

use super::cache::{Cache, Entry};
use super::encode::Scratch;
use super::joints::Joints;
use super::long;
use super::merge::{merge, Parts};
use super::model::Model;
use super::packed::Layout;
use super::prefixes::Prefixes;
use crate::id::Id;
use crate::memory::key::{key_at, key_of, LONGEST};
use crate::memory::mapped_slice::MappedSlice;
#[cfg(target_arch = "x86_64")]
use crate::pattern::Variant;

/// Pieces whose cache lines are fetched ahead: 64 are on their way while the 64 before are used.
const AHEAD: usize = 128;

/// 2^19 entries are 16 MB a thread: 60 MB of English prose have 230,000 besides the vocabulary. With half the room the
/// same text took 1.6 times as long.
const BITS: u32 = 19;

/// The vocabulary in the forms that encoding reads.
pub struct Pieces {
    /// What the exact encoder asks, where the vocabulary is regular.
    pub prefixes: Option<Prefixes>,
    pub joints: Joints,
    /// Ids of every character of two or three bytes that stands alone, packed.
    pub chars: MappedSlice<[u64; 2]>,
    #[cfg(target_arch = "x86_64")]
    pub(super) vectors: bool,
    /// Every token of up to 15 bytes and its own id, packed.
    pub seeds: MappedSlice<Entry>,
}

impl Pieces {
    /// `tokens`: by id.
    pub fn new<V: Layout>(model: &Model, tokens: &[Vec<u8>]) -> Self {
        let inner: Vec<&[u8]> = model.ids.iter().map(|&id| tokens[id as usize].as_slice()).collect();
        let seed = |bytes: &[u8], id: u32| Entry { key: key_of(bytes), ids: V::pack(&[id]) };
        let made = inner.iter().zip(&*model.ids).enumerate();
        let made = made.filter(|(number, (bytes, _))| bytes.len() <= LONGEST && (model.regular || *number < 256));
        let whole = model.whole.iter().filter(|(bytes, _)| bytes.len() <= LONGEST);
        let seeds = made.map(|(_, (bytes, &id))| seed(bytes, id)).chain(whole.map(|(bytes, &id)| seed(bytes, id)));
        let mut parts = Parts::default();
        let mut text = [0; 4];
        let chars = (0..1_u32 << 16).map(|code| {
            let Some(char) = char::from_u32(code).filter(|char| !char.is_ascii()) else { return [0; 2] };
            merge(model, char.encode_utf8(&mut text).as_bytes(), &mut parts);
            let ids: Vec<u32> = parts.tokens().map(|token| model.ids[token as usize]).collect();
            V::pack(&ids)
        });
        let prefixes = model.regular.then(|| Prefixes::new(model, &inner));
        Self::of_tables(prefixes, Joints::new(inner.iter().copied()), chars.collect(), seeds.collect())
    }

    pub fn of_tables(
        prefixes: Option<Prefixes>,
        joints: Joints,
        chars: MappedSlice<[u64; 2]>,
        seeds: MappedSlice<Entry>,
    ) -> Self {
        Self {
            prefixes,
            joints,
            chars,
            #[cfg(target_arch = "x86_64")]
            vectors: Variant::best() != Variant::Scalar,
            seeds,
        }
    }

    /// A cache that holds the vocabulary.
    pub fn cache(&self) -> Cache {
        let mut cache = Cache::new(BITS);
        for &entry in &*self.seeds {
            cache.seed(entry);
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
        #[cfg(target_arch = "x86_64")]
        if self.vectors {
            // SAFETY: the processor was asked; the rest as the caller promised
            return unsafe { self.encode_avx2::<V, T>(model, text, start, ends, scratch, out) };
        }
        // SAFETY: as the caller promised
        unsafe { self.encode_here::<V, T>(model, text, start, ends, scratch, out) }
    }

    /// The same, compiled for what every processor with wide vectors has.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
    unsafe fn encode_avx2<V: Layout, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        start: usize,
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        // SAFETY: as the caller promised
        unsafe { self.encode_here::<V, T>(model, text, start, ends, scratch, out) }
    }

    #[inline(always)]
    unsafe fn encode_here<V: Layout, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        start: usize,
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
    ) -> usize {
        let text = &text[start..];
        // a key is made by reading 16 bytes, which the last few pieces of a text have not
        let begins = ends.iter().rev().skip(1).chain([&0]);
        let inside = ends.len() - begins.take_while(|&&begin| begin as usize + 16 > text.len()).count();
        // SAFETY: as the caller promised
        let mut count = unsafe { self.pass::<V, T>(model, text, &ends[..inside], scratch, out, 0) };
        if inside < ends.len() {
            let from = if inside == 0 { 0 } else { ends[inside - 1] };
            let (mut tail, mut tail_ends) = ([0; 32], [0; 16]);
            tail[..text.len() - from as usize].copy_from_slice(&text[from as usize..]);
            let tail_ends = &mut tail_ends[..ends.len() - inside];
            tail_ends.iter_mut().zip(&ends[inside..]).for_each(|(tail_end, end)| *tail_end = end - from);
            // SAFETY: as the caller promised; fewer than 16 bytes are left, and 32 can be read. What is pending lies in
            // the text itself.
            count = unsafe { self.settle::<V, T>(model, text, scratch, out, count) };
            // SAFETY: as above
            count = unsafe { self.pass::<V, T>(model, &tail, tail_ends, scratch, out, count) };
        }
        // SAFETY: as the caller promised
        unsafe { self.settle::<V, T>(model, text, scratch, out, count) }
    }

    /// Writes what is known after `count` ids and notes what is not; returns how many there are then. 16 bytes can be
    /// read from the beginning of each piece.
    #[inline(always)]
    unsafe fn pass<V: Layout, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        ends: &[u32],
        scratch: &mut Scratch,
        out: *mut T,
        mut count: usize,
    ) -> usize {
        let mut keys = [0_u128; AHEAD];
        let mut homes = [0_u32; AHEAD];
        let mut from = 0_u32;
        for ends in ends.chunks(AHEAD) {
            let first = from;
            for ((&end, key), home) in ends.iter().zip(&mut keys).zip(&mut homes) {
                // SAFETY: as the caller promised
                *key = unsafe { key_at(text.as_ptr().add(from as usize), (end - from) as usize) };
                *home = scratch.cache.home(*key) as u32;
                scratch.cache.prefetch(*home as usize);
                from = end;
            }
            from = first;
            for ((&end, &key), &home) in ends.iter().zip(&keys).zip(&homes) {
                let home = home as usize;
                let entry = scratch.cache.at_home(home);
                // SAFETY: every write stays within the bytes of its piece and the slack, as the caller promised
                count = unsafe {
                    if entry.key == key {
                        count + V::unpack(entry.ids, out.add(count))
                    } else {
                        self.miss::<V, T>(model, text, from as usize, end as usize, home, key, scratch, out, count)
                    }
                };
                from = end;
            }
        }
        count
    }

    /// A pre-token that does not lie at home: written, or noted for later; returns how many ids there are then.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "what the loop has at hand")]
    unsafe fn miss<V: Layout, T: Id>(
        &self,
        model: &Model,
        text: &[u8],
        from: usize,
        to: usize,
        home: usize,
        key: u128,
        scratch: &mut Scratch,
        out: *mut T,
        count: usize,
    ) -> usize {
        if let Some(ids) = scratch.cache.in_line(home, key) {
            // SAFETY: as the caller promised
            return unsafe { count + V::unpack(ids, out.add(count)) };
        }
        let piece = &text[from..to];
        // characters of three bytes from U+3000 on, alone or after a space: nearly all stand alone, and few such
        // pieces come twice
        let han = piece[0] >= 0xe3 || piece.get(1).is_some_and(|&second| second >= 0xe3);
        if piece.len() <= LONGEST && !han {
            scratch.pending.add(&scratch.cache, key, home, count);
            return count;
        }
        if piece.len() <= long::LONGEST && !han {
            scratch.pending.add_long(&scratch.long, piece, from, count);
            return count;
        }
        // SAFETY: as the caller promised
        unsafe { self.hard::<V, T>(model, text, from, to, scratch, out, count) }
    }
}

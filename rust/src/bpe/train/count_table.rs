//! Counts of pre-tokens: an open-addressed table of cache lines, three entries a line.
//!
//! A pre-token of up to 15 bytes is its own key, 16 bytes with the length on top. A longer one lies in an arena and its
//! key holds 56 bits of its hash and where it lies. A count takes 32 bits here; what overflows is carried to 64.

use std::collections::HashMap;
use std::ops::Range;

use super::visit::Visit;
use crate::memory::huge::{whole_pages, Zeroed};
use crate::memory::mapped_slice::Plain;
use crate::memory::prefetch::prefetch_item;

/// Longest pre-token that is its own key.
pub(super) const INLINE: usize = 15;
const LONG: u64 = 0xff << 56;
const PER_LINE: usize = 3;
/// Share of the entries in use, in 256ths, beyond which a table grows. Measured on English prose: 0.60 to 0.85 count
/// equally fast, as the words that matter lie in their first line.
const FULL: usize = 208;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line {
    keys: [u128; PER_LINE],
    counts: [u32; PER_LINE],
    _unused: u32,
}

// SAFETY: integers without gaps
unsafe impl Plain for Line {}

/// The key and hash of a pre-token, ready to be looked up; the hash is that of the bytes and nothing else.
#[derive(Clone, Copy, Default)]
pub(super) struct Probe {
    key: u128,
    pub hash: u64,
}

pub(super) struct CountTable {
    /// On huge pages: a page that is read before it is written is taken twice, and the second time every other thread
    /// is interrupted. With small ones two threads counted no faster than one.
    lines: Zeroed<Line>,
    used: usize,
    arena: Vec<u8>,
    /// What overflowed 32 bits, by key.
    carried: HashMap<u128, u64>,
}

/// Lines that are given back together, 16 MB: other threads are interrupted for it.
const RELEASED: usize = 1 << 18;

/// Gives the memory of so many lines that were read back to the system; they are empty from then on, or as they were.
fn release(lines: &mut [Line]) {
    #[cfg(target_os = "linux")]
    if lines.len() == RELEASED {
        let start = lines.as_mut_ptr();
        if let Some((first, length)) = whole_pages(start.cast(), size_of_val(lines)) {
            // SAFETY: whole pages of memory that is borrowed mutably; they read as zeros, an empty line, afterwards
            unsafe { libc::madvise(first as *mut libc::c_void, length, libc::MADV_DONTNEED) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = lines;
}

// No byte of these occurs in UTF-8, so that no text makes a factor zero.
const SEED_LOW: u64 = 0xf5c1_fbf9_f8fd_c0fe;
const SEED_HIGH: u64 = 0xfdf7_c1f6_fffb_f5c0;

#[inline(always)]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product as u64) ^ (product >> 64) as u64
}

/// 64 bits, of which the low 8 are zero: a long key keeps 56, and both must place an entry alike when a table grows.
#[inline(always)]
fn hash_inline(key: u128) -> u64 {
    let low = key as u64 ^ SEED_LOW;
    let high = (key >> 64) as u64 ^ SEED_HIGH;
    fold(low, high.rotate_left(29) | 1) & !0xff
}

fn hash_long(bytes: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let mut hash = SEED_HIGH ^ bytes.len() as u64;
    let mut at = 0;
    while at + 16 <= bytes.len() {
        hash = fold(word(at) ^ SEED_LOW ^ hash, word(at + 8) ^ SEED_HIGH);
        at += 16;
    }
    let end = bytes.len();
    fold(fold(word(end - 16) ^ SEED_LOW ^ hash, word(end - 8) ^ SEED_HIGH), SEED_LOW) & !0xff
}

impl Probe {
    /// `start..end` of `text`.
    #[inline(always)]
    pub fn new(text: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        if length > INLINE {
            let hash = hash_long(&text[start..end]);
            return Self { key: 0, hash };
        }
        let raw = if start + 16 <= text.len() {
            u128::from_le_bytes(text[start..start + 16].try_into().expect("sixteen bytes"))
        } else {
            let mut bytes = [0; 16];
            bytes[..length].copy_from_slice(&text[start..end]);
            u128::from_le_bytes(bytes)
        };
        let key = (raw & ((1 << (8 * length)) - 1)) | (length as u128) << 120;
        Self { key, hash: hash_inline(key) }
    }
}

impl CountTable {
    pub fn new() -> Self {
        Self::with_lines(1 << 6)
    }

    fn with_lines(lines: usize) -> Self {
        Self { lines: Zeroed::new(lines), used: 0, arena: Vec::new(), carried: HashMap::new() }
    }

    /// Distinct pre-tokens.
    pub fn len(&self) -> usize {
        self.used
    }

    pub fn is_nearly_full(&self, more: usize) -> bool {
        (self.used + more) * 256 > self.lines.len() * PER_LINE * FULL
    }

    #[inline(always)]
    fn line_of(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }

    /// Asks for the line that `probe` will look at.
    #[inline(always)]
    pub fn prefetch(&self, probe: Probe) {
        prefetch_item(&self.lines, self.line_of(probe.hash));
    }

    /// Counts `bytes`, whose probe this is, `times` more. The caller has made room: [`Self::reserve`].
    #[inline(always)]
    pub fn add(&mut self, probe: Probe, bytes: &[u8], times: u64) {
        if bytes.len() > INLINE {
            return self.add_long(probe.hash, bytes, times);
        }
        let mut at = self.line_of(probe.hash);
        loop {
            let line = &mut self.lines[at];
            for entry in 0..PER_LINE {
                if line.keys[entry] == probe.key {
                    return self.raise(at, entry, times);
                }
                if line.keys[entry] == 0 {
                    line.keys[entry] = probe.key;
                    self.used += 1;
                    return self.raise(at, entry, times);
                }
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
    }

    #[inline(always)]
    fn raise(&mut self, at: usize, entry: usize, times: u64) {
        let line = &mut self.lines[at];
        let (sum, carry) = line.counts[entry].overflowing_add(times as u32);
        line.counts[entry] = sum;
        let high = (times >> 32) + u64::from(carry);
        if high != 0 {
            let key = line.keys[entry];
            *self.carried.entry(key).or_default() += high << 32;
        }
    }

    fn add_long(&mut self, hash: u64, bytes: &[u8], times: u64) {
        let tag = LONG | hash >> 8;
        let mut at = self.line_of(hash);
        loop {
            for entry in 0..PER_LINE {
                let key = self.lines[at].keys[entry];
                if key == 0 {
                    let offset = self.arena.len() as u64;
                    self.arena.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                    self.arena.extend_from_slice(bytes);
                    self.lines[at].keys[entry] = u128::from(tag) << 64 | u128::from(offset);
                    self.used += 1;
                    return self.raise(at, entry, times);
                }
                if (key >> 64) as u64 == tag && long(&self.arena, key) == bytes {
                    return self.raise(at, entry, times);
                }
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
    }

    /// Makes room for `more` new pre-tokens.
    pub fn reserve(&mut self, more: usize) {
        while self.is_nearly_full(more) {
            self.grow();
        }
    }

    fn grown(lines: usize) -> usize {
        // doubling while it is cheap, by half once the transient would be felt
        if lines < 1 << 18 {
            lines * 2
        } else {
            lines + lines / 2
        }
    }

    fn grow(&mut self) {
        let lines = Self::grown(self.lines.len());
        let mut old = std::mem::replace(&mut self.lines, Zeroed::new(lines));
        // both are in the order of hashes: the new one fills from the front as the old one empties
        for some in old.chunks_mut(RELEASED) {
            for line in some.iter() {
                for (key, count) in line.keys.into_iter().zip(line.counts) {
                    if key != 0 {
                        self.place(key, count);
                    }
                }
            }
            release(some);
        }
    }

    fn place(&mut self, key: u128, count: u32) {
        let mut at = self.line_of(hash_of(key));
        loop {
            let line = &mut self.lines[at];
            if let Some(entry) = line.keys.iter().position(|&key| key == 0) {
                line.keys[entry] = key;
                line.counts[entry] = count;
                return;
            }
            at = if at + 1 == self.lines.len() { 0 } else { at + 1 };
        }
    }

    /// The pre-token at a place, with its hash and count.
    pub fn at(&self, (line, entry): (u32, u8)) -> (&[u8], u64, u64) {
        read(&self.lines[line as usize], entry as usize, &self.arena, &self.carried)
    }

    /// The places of pre-tokens in some of the lines.
    fn places(&self, lines: Range<usize>) -> impl Iterator<Item = (u32, u8)> + '_ {
        lines.flat_map(move |at| {
            let used = move |entry: &usize| self.lines[at].keys[*entry] != 0;
            (0..PER_LINE).filter(used).map(move |entry| (at as u32, entry as u8))
        })
    }

    /// The places of all pre-tokens, by hash and then by bytes: the same order in every table.
    pub fn in_order(&self) -> Vec<(u32, u8)> {
        let mut places: Vec<_> = self.places(0..self.lines.len()).collect();
        places.sort_unstable_by(|&left, &right| {
            let ((left, left_hash, _), (right, right_hash, _)) = (self.at(left), self.at(right));
            left_hash.cmp(&right_hash).then_with(|| left.cmp(right))
        });
        places
    }

    /// Whether something holds of every pre-token.
    pub fn all(&self, holds: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.places(0..self.lines.len()).all(|place| holds(self.at(place).0))
    }

    /// The pre-tokens of one of `parts` shares of the lines, with hash and count.
    pub fn part(&self, part: usize, parts: usize, visit: Visit<'_>) {
        let bound = |part: usize| self.lines.len() * part / parts;
        for place in self.places(bound(part)..bound(part + 1)) {
            let (bytes, hash, count) = self.at(place);
            visit(bytes, hash, count);
        }
    }

    /// The lines in `parts` shares, to be visited once.
    pub fn shares(&mut self, parts: usize) -> Vec<Share<'_>> {
        let total = self.lines.len();
        let mut rest = &mut self.lines[..];
        (0..parts)
            .map(|part| {
                let lines = total * (part + 1) / parts - total * part / parts;
                let (mine, others) = std::mem::take(&mut rest).split_at_mut(lines);
                rest = others;
                Share { lines: mine, arena: &self.arena, carried: &self.carried }
            })
            .collect()
    }

    /// Bytes held once `more` pre-tokens of `bytes` in all were added.
    pub fn bytes_with(&self, more: usize, bytes: usize) -> usize {
        let lines = self.lines.len();
        // while a table grows, the old one empties as the new one fills
        let lines = if self.is_nearly_full(more) { Self::grown(lines) + RELEASED } else { lines };
        let arena = self.arena.len() + bytes + 4 * more;
        let arena =
            if arena > self.arena.capacity() { arena.max(2 * self.arena.capacity()) } else { self.arena.capacity() };
        lines * size_of::<Line>() + arena
    }
}

/// Some of the lines of a table.
pub(super) struct Share<'a> {
    lines: &'a mut [Line],
    arena: &'a [u8],
    carried: &'a HashMap<u128, u64>,
}

impl Share<'_> {
    /// Visits all, and gives the memory of those visited back as it goes.
    pub fn drain(self, visit: Visit<'_>) {
        for some in self.lines.chunks_mut(RELEASED) {
            for line in some.iter() {
                for entry in (0..PER_LINE).filter(|&entry| line.keys[entry] != 0) {
                    let (bytes, hash, count) = read(line, entry, self.arena, self.carried);
                    visit(bytes, hash, count);
                }
            }
            release(some);
        }
    }
}

/// A pre-token with its hash and count.
fn read<'a>(line: &'a Line, entry: usize, arena: &'a [u8], carried: &HashMap<u128, u64>) -> (&'a [u8], u64, u64) {
    let key = &line.keys[entry];
    let beyond = if carried.is_empty() { 0 } else { carried.get(key).copied().unwrap_or(0) };
    let bytes = if key >> 120 == 0xff { long(arena, *key) } else { inline(key) };
    (bytes, hash_of(*key), u64::from(line.counts[entry]) + beyond)
}

fn long(arena: &[u8], key: u128) -> &[u8] {
    let (length, rest) = arena[key as u64 as usize..].split_first_chunk::<4>().expect("an entry of the arena");
    &rest[..u32::from_le_bytes(*length) as usize]
}

/// The bytes that are their own key.
fn inline(key: &u128) -> &[u8] {
    let length = (key >> 120) as usize;
    // SAFETY: a u128 is sixteen bytes that any alignment may read; the borrow lasts as long as the key's.
    let bytes: &[u8; 16] = unsafe { &*std::ptr::from_ref(key).cast() };
    &bytes[..length]
}

#[inline(always)]
fn hash_of(key: u128) -> u64 {
    if key >> 120 == 0xff {
        ((key >> 64) as u64) << 8
    } else {
        hash_inline(key)
    }
}

impl CountTable {
    /// Adds all that `other` counted.
    pub fn absorb(&mut self, other: &Self) {
        const BATCH: usize = 32;
        let mut places = other.places(0..other.lines.len());
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.reserve(BATCH);
            batch.extend(places.by_ref().take(BATCH).map(|place| {
                let (bytes, hash, count) = other.at(place);
                let key = if bytes.len() > INLINE { 0 } else { other.lines[place.0 as usize].keys[place.1 as usize] };
                let probe = Probe { key, hash };
                self.prefetch(probe);
                (probe, bytes, count)
            }));
            if batch.is_empty() {
                return;
            }
            for (probe, bytes, count) in batch.drain(..) {
                self.add(probe, bytes, count);
            }
        }
    }
}

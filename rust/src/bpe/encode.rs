//! Text to ids.

use std::sync::Mutex;

use super::merge::{merge, Parts};
use super::specials::{Allowed, Finder};
use super::vocab::Vocab;
use crate::error::Result;

/// What an id is stored as: `u16` while the vocabulary has at most 65,536 ids, else `u32`.
pub trait Id: Copy + Default + Send + Sync + 'static {
    fn from_u32(id: u32) -> Self;
    fn to_u32(self) -> u32;
}

impl Id for u16 {
    #[inline(always)]
    fn from_u32(id: u32) -> Self {
        id as u16
    }

    #[inline(always)]
    fn to_u32(self) -> u32 {
        self.into()
    }
}

impl Id for u32 {
    #[inline(always)]
    fn from_u32(id: u32) -> Self {
        id
    }

    #[inline(always)]
    fn to_u32(self) -> u32 {
        self
    }
}

/// What one thread needs to encode: buffers that are kept between calls.
#[derive(Default)]
pub struct Scratch {
    ends: Vec<u32>,
    parts: Parts,
}

/// A compiled vocabulary. Share it between threads; each has its own [`Scratch`].
pub struct Encoder {
    pub vocab: Vocab,
    specials: Finder,
    idle: Mutex<Vec<Scratch>>,
}

impl Encoder {
    pub fn new(vocab: Vocab) -> Self {
        let specials = Finder::new(&vocab.specials);
        Self { vocab, specials, idle: Mutex::default() }
    }

    pub fn scratch(&self) -> Scratch {
        Scratch::default()
    }

    /// Runs `work` with a scratch that an earlier call has left, so that short calls do not pay for a new one.
    pub fn with_scratch<R>(&self, work: impl FnOnce(&mut Scratch) -> R) -> R {
        let kept = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let mut scratch = kept.unwrap_or_else(|| self.scratch());
        let result = work(&mut scratch);
        if let Ok(mut idle) = self.idle.lock() {
            idle.push(scratch);
        }
        result
    }

    /// Appends the ids of `text`; what looks like a special token is text.
    pub fn encode<T: Id>(&self, text: &[u8], scratch: &mut Scratch, out: &mut Vec<T>) {
        let mut at = 0;
        while at < text.len() {
            at = self.encode_some(text, at, usize::MAX, scratch, out);
        }
    }

    /// Appends the ids of pre-tokens from `start`, a boundary, until `budget` bytes are done; returns where to go on.
    pub fn encode_some<T: Id>(
        &self,
        text: &[u8],
        start: usize,
        budget: usize,
        scratch: &mut Scratch,
        out: &mut Vec<T>,
    ) -> usize {
        let mut at = start;
        while at < text.len() && at - start < budget {
            let mut ends = std::mem::take(&mut scratch.ends);
            let next = self.vocab.pattern.scan(text, at, &mut ends);
            let mut from = 0;
            for &end in &ends {
                self.piece(&text[at + from..at + end as usize], scratch, out);
                from = end as usize;
            }
            scratch.ends = ends;
            at = next;
        }
        at
    }

    /// Appends the ids of `text`, where the special tokens that `allowed` names are their ids.
    pub fn encode_with<T: Id>(
        &self,
        text: &[u8],
        allowed: &Allowed,
        scratch: &mut Scratch,
        out: &mut Vec<T>,
    ) -> Result<()> {
        self.split(text, allowed, |piece, special| {
            self.encode(piece, scratch, out);
            out.extend(special.map(T::from_u32));
        })
    }

    /// Calls `each` with every stretch of ordinary text and the id of the special token that ends it, if one does.
    pub fn split(&self, text: &[u8], allowed: &Allowed, each: impl FnMut(&[u8], Option<u32>)) -> Result<()> {
        self.specials.split(text, &self.vocab.specials, allowed, each)
    }

    fn piece<T: Id>(&self, piece: &[u8], scratch: &mut Scratch, out: &mut Vec<T>) {
        let model = &self.vocab.model;
        if !model.whole.is_empty() {
            if let Some(&id) = model.whole.get(piece) {
                out.push(T::from_u32(id));
                return;
            }
        }
        merge(model, piece, &mut scratch.parts);
        out.extend(scratch.parts.tokens().map(|token| T::from_u32(model.ids[token as usize])));
    }
}

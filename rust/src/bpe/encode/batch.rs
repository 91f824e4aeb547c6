//! One batch of pre-tokens on its way to ids: what the loop, misses and segments share.

use std::marker::PhantomData;

use super::isa::{Baseline, Isa, Work};
use super::packed_ids::Packing;
use super::scratch::Scratch;
use super::tables::EncodeTables;
use crate::bpe::model::Model;
use crate::id::Id;
use crate::memory::key::LONGEST;

/// Writes the ids of the pre-tokens of `text` that end at `ends`; returns how many. Here it is decided, once, what the
/// code that does it is compiled for.
///
/// # Safety
/// As for [`Batch::new`].
pub unsafe fn encode<V: Packing, T: Id>(
    model: &Model,
    tables: &EncodeTables,
    text: &[u8],
    ends: &[u32],
    scratch: &mut Scratch,
    out: *mut T,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if let Some(isa) = tables.avx2 {
        // SAFETY: `out` has the room that `new` asks for
        let batch = unsafe { Batch::<V, T, _>::new(model, tables, text, scratch, out, isa) };
        return isa.run(Encode { batch, ends });
    }
    // SAFETY: `out` has the room that `new` asks for
    unsafe { Batch::<V, T, _>::new(model, tables, text, scratch, out, Baseline) }.encode(ends)
}

/// Writes the ids of pre-tokens of a text one after another, and notes those that have to wait, until it is settled.
///
/// `V` is how ids are packed, `T` what they are written as, `I` what the code is compiled for.
pub struct Batch<'a, V, T, I> {
    pub model: &'a Model,
    pub tables: &'a EncodeTables,
    /// What the pre-tokens, and the misses that are noted in `scratch`, are ranges of.
    pub text: &'a [u8],
    pub scratch: &'a mut Scratch,
    out: *mut T,
    /// Ids written so far.
    pub count: usize,
    pub isa: I,
    packing: PhantomData<V>,
}

impl<'a, V: Packing, T: Id, I: Isa> Batch<'a, V, T, I> {
    /// # Safety
    /// `out` has room for one id for every byte of the pre-tokens that are encoded, and for `SLACK` more. No id is made
    /// of nothing, so that what is written stays within as long as no byte is encoded twice.
    pub unsafe fn new(
        model: &'a Model,
        tables: &'a EncodeTables,
        text: &'a [u8],
        scratch: &'a mut Scratch,
        out: *mut T,
        isa: I,
    ) -> Self {
        Self { model, tables, text, scratch, out, count: 0, isa, packing: PhantomData }
    }

    /// Encodes the pre-tokens that end at `ends`; returns how many ids were written.
    #[inline(always)]
    pub fn encode(mut self, ends: &[u32]) -> usize {
        // a key is made by reading 16 bytes, which the last few pre-tokens of a text have not
        let begins = ends.iter().rev().skip(1).chain([&0]);
        let inside = ends.len() - begins.take_while(|&&begin| begin as usize + 16 > self.text.len()).count();
        // SAFETY: those that begin nearer to the end were left out
        unsafe { self.pass(&ends[..inside]) };
        self.settle();
        if inside < ends.len() {
            let from = if inside == 0 { 0 } else { ends[inside - 1] };
            self.encode_tail(from, &ends[inside..]);
        }
        self.count
    }

    /// Encodes the last few pre-tokens, of fewer than 16 bytes together, from a copy with zeros after it.
    #[inline(always)]
    fn encode_tail(&mut self, from: u32, ends: &[u32]) {
        let rest = &self.text[from as usize..];
        let (mut text, mut tail_ends) = ([0; 2 * (LONGEST + 1)], [0; LONGEST + 1]);
        text[..rest.len()].copy_from_slice(rest);
        let tail_ends = &mut tail_ends[..ends.len()];
        tail_ends.iter_mut().zip(ends).for_each(|(tail_end, end)| *tail_end = end - from);
        let mut tail = Batch { text: &text, scratch: &mut *self.scratch, ..*self };
        // SAFETY: they begin in the first half of the copy
        unsafe { tail.pass(tail_ends) };
        tail.settle();
        self.count = tail.count;
    }

    /// Encodes what was noted and inserts its ids where they belong.
    pub fn settle(&mut self) {
        if self.scratch.misses.len() > 0 {
            let isa = self.isa;
            isa.run(Settle(self));
        }
    }

    #[inline(always)]
    fn find_and_insert(&mut self) {
        let (model, tables, isa) = (self.model, self.tables, self.isa);
        let (out, count) = (self.start(), self.count);
        let Scratch { misses, cache, long, window_merger, .. } = &mut *self.scratch;
        misses.find::<V>(model, self.text, cache, long, |pre_token, ids| {
            let tokens = tables.tokens(model, pre_token, window_merger, isa).iter();
            ids.extend(tokens.map(|&token| model.ids[token as usize]));
        });
        // SAFETY: those inserted are of bytes that had none before, for which `out` has room and `SLACK` more
        self.count = unsafe { misses.insert::<V, T>(out, count) };
    }

    /// Writes one id.
    #[inline(always)]
    pub fn write(&mut self, id: u32) {
        // SAFETY: the id of bytes that had none before, for which there is room
        unsafe { self.out.add(self.count).write(T::from_u32(id)) };
        self.count += 1;
    }

    /// Writes the ids that are packed.
    #[inline(always)]
    pub fn write_packed(&mut self, packed: [u64; 2]) {
        // SAFETY: they are those of bytes that had none before, for which there is room and `SLACK` more
        self.count += unsafe { V::unpack(packed, self.out.add(self.count)) };
    }

    /// Where the ids begin.
    #[inline(always)]
    pub fn start(&self) -> *mut T {
        self.out
    }
}

/// The pre-tokens of a batch that end at `ends`.
#[cfg(target_arch = "x86_64")]
struct Encode<'a, 'b, V, T, I> {
    batch: Batch<'a, V, T, I>,
    ends: &'b [u32],
}

#[cfg(target_arch = "x86_64")]
impl<V: Packing, T: Id, I: Isa> Work for Encode<'_, '_, V, T, I> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        self.batch.encode(self.ends)
    }
}

/// The misses of a batch.
struct Settle<'a, 'b, V, T, I>(&'b mut Batch<'a, V, T, I>);

impl<V: Packing, T: Id, I: Isa> Work for Settle<'_, '_, V, T, I> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.0.find_and_insert();
    }
}

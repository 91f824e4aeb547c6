//! What a thread makes of one block: ids of both splits, and where documents end. Used again for the next block.

use super::encoder::TextEncoder;
use crate::error::Result;
use crate::id::Id;
use crate::input::{Block, Side, Skipped};

/// A document, or a part of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub side: Side,
    /// Where it ends in the ids of its side.
    pub end: usize,
    pub bytes: u64,
    pub ends: bool,
}

pub(super) struct EncodedBlock<T> {
    /// By [`Side`].
    pub ids: [Vec<T>; 2],
    pub parts: Vec<Part>,
    pub skipped: Vec<Skipped>,
    pub replaced: u64,
    /// Entries of the index and of the log, and where all of these belong: filled in when its turn comes.
    pub index: [Vec<u8>; 2],
    pub log: Vec<u8>,
    pub places: [u64; 5],
}

impl<T: Id> EncodedBlock<T> {
    pub fn new() -> Self {
        Self {
            ids: [Vec::new(), Vec::new()],
            parts: Vec::new(),
            skipped: Vec::new(),
            replaced: 0,
            index: [Vec::new(), Vec::new()],
            log: Vec::new(),
            places: [0; 5],
        }
    }

    /// Encodes a block into the buffers, which keep their memory.
    pub fn fill<E: TextEncoder>(
        &mut self,
        block: Block,
        encoder: &E,
        scratch: &mut E::Scratch,
        eot: Option<u32>,
    ) -> Result<()> {
        self.ids.iter_mut().for_each(Vec::clear);
        self.index.iter_mut().for_each(Vec::clear);
        self.log.clear();
        self.parts.clear();
        let documents: Vec<&[u8]> = block.documents().collect();
        encoder.prepare(&documents, scratch)?;
        for (segment, text) in block.segments.iter().zip(documents) {
            let ids = &mut self.ids[segment.side as usize];
            encoder.encode(text, scratch, ids)?;
            if segment.ends {
                ids.extend(eot.map(T::from_u32));
            }
            let bytes = text.len() as u64;
            self.parts.push(Part { side: segment.side, end: ids.len(), bytes, ends: segment.ends });
        }
        self.skipped = block.skipped;
        self.replaced = block.replaced;
        Ok(())
    }

    pub fn documents(&self) -> u64 {
        self.parts.iter().filter(|part| part.ends).count() as u64
    }

    pub fn tokens(&self) -> u64 {
        self.ids.iter().map(|ids| ids.len() as u64).sum()
    }
}

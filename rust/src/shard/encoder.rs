//! What stands between text and ids.

use std::any::Any;

use crate::error::Result;
use crate::input::SafeCut;

/// A tokenizer as the pipeline sees it. One is shared by all threads; each has a scratch of its own.
pub trait TextEncoder: Send + Sync {
    fn scratch(&self) -> Box<dyn Any + Send>;

    /// Called before the documents of a piece are encoded one by one in this order: a tokenizer that is better at many
    /// at once does its work here.
    fn prepare(&self, documents: &[&[u8]], scratch: &mut dyn Any) -> Result<()> {
        let _ = (documents, scratch);
        Ok(())
    }

    /// Appends the ids of `text`, all of which must be below `vocab_size`.
    fn encode_u16(&self, text: &[u8], scratch: &mut dyn Any, out: &mut Vec<u16>) -> Result<()>;

    fn encode_u32(&self, text: &[u8], scratch: &mut dyn Any, out: &mut Vec<u32>) -> Result<()>;

    /// One more than the highest id.
    fn vocab_size(&self) -> u32;

    /// Where a document may be cut; None where it must be encoded as a whole.
    fn safe_cut(&self) -> Option<SafeCut> {
        None
    }
}

/// The width of an id on disk.
pub trait Id: Copy + Send + Sync + 'static {
    fn from_id(id: u32) -> Self;
    fn encode(encoder: &dyn TextEncoder, text: &[u8], scratch: &mut dyn Any, out: &mut Vec<Self>) -> Result<()>;
    /// The ids as they lie on disk.
    fn bytes(ids: &[Self]) -> &[u8];
}

#[cfg(target_endian = "big")]
compile_error!("shards are little-endian, and ids are written as they lie in memory");

impl Id for u16 {
    fn from_id(id: u32) -> Self {
        id as u16
    }

    fn encode(encoder: &dyn TextEncoder, text: &[u8], scratch: &mut dyn Any, out: &mut Vec<Self>) -> Result<()> {
        encoder.encode_u16(text, scratch, out)
    }

    fn bytes(ids: &[Self]) -> &[u8] {
        // SAFETY: any u16 is two initialised bytes, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(ids.as_ptr().cast(), std::mem::size_of_val(ids)) }
    }
}

impl Id for u32 {
    fn from_id(id: u32) -> Self {
        id
    }

    fn encode(encoder: &dyn TextEncoder, text: &[u8], scratch: &mut dyn Any, out: &mut Vec<Self>) -> Result<()> {
        encoder.encode_u32(text, scratch, out)
    }

    fn bytes(ids: &[Self]) -> &[u8] {
        // SAFETY: any u32 is four initialised bytes, and bytes need no alignment.
        unsafe { std::slice::from_raw_parts(ids.as_ptr().cast(), std::mem::size_of_val(ids)) }
    }
}

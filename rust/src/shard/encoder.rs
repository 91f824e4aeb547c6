//! What stands between text and ids.

use std::sync::Arc;

use crate::bpe::{Allowed, Encoder, Scratch};
use crate::error::Result;
use crate::id::Id;
use crate::input::SafeCut;

/// A tokenizer as the pipeline sees it. One is shared by all threads; each has a scratch of its own.
pub trait TextEncoder: Sync {
    type Scratch;

    fn scratch(&self) -> Self::Scratch;

    /// Called before the documents of a block are encoded one by one in this order: a tokenizer that is better at many
    /// at once does its work here.
    fn prepare(&self, documents: &[&[u8]], scratch: &mut Self::Scratch) -> Result<()> {
        let _ = (documents, scratch);
        Ok(())
    }

    /// Appends the ids of `text`, each of which fits `T`.
    fn encode<T: Id>(&self, text: &[u8], scratch: &mut Self::Scratch, out: &mut Vec<T>) -> Result<()>;

    /// Where a document may be cut; None where it must be encoded as a whole.
    fn safe_cut(&self) -> Option<SafeCut> {
        None
    }
}

/// The encoder of the core, for texts in which some special tokens are more than text.
pub struct BpeEncoder {
    encoder: Arc<Encoder>,
    names: Vec<String>,
    allowed: Allowed,
}

impl BpeEncoder {
    pub fn new(encoder: Arc<Encoder>, names: &[String]) -> Self {
        let allowed = if names.is_empty() { Allowed::None } else { Allowed::These(names.to_vec()) };
        Self { encoder, names: names.to_vec(), allowed }
    }
}

impl TextEncoder for BpeEncoder {
    type Scratch = Scratch;

    fn scratch(&self) -> Scratch {
        self.encoder.scratch()
    }

    fn encode<T: Id>(&self, text: &[u8], scratch: &mut Scratch, out: &mut Vec<T>) -> Result<()> {
        self.encoder.encode_with(text, &self.allowed, scratch, out)
    }

    /// Where the pattern allows a cut and no token that is looked for in text may lie across.
    fn safe_cut(&self) -> Option<SafeCut> {
        let encoder = self.encoder.clone();
        // what is found in every text may lie across a cut like what is allowed
        let added = encoder.vocab.added.iter().map(|(name, _)| name);
        let names: Vec<String> = self.names.iter().chain(added).cloned().collect();
        // a special token that lies near a cut may hold it, or decide what is before it
        let near = 64 + names.iter().map(String::len).max().unwrap_or(0);
        Some(Arc::new(move |text, low, high| {
            let cut = encoder.vocab.pattern.safe_cut(text, low, high)?;
            let around = &text[cut.saturating_sub(near)..(cut + near).min(text.len())];
            names.iter().all(|name| memchr::memmem::find(around, name.as_bytes()).is_none()).then_some(cut)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{request, Bench, ALL};
    use super::super::{run, Request, Task};
    use super::*;
    use crate::bpe::Vocab;
    use crate::pattern::Pattern;

    #[test]
    fn text_becomes_shards_without_python() {
        let bench = Bench::new("core", 61);
        let order = |byte: u8| u32::from(crate::bpe::alphabet::ORDER[usize::from(byte)]);
        let vocab = Vocab::from_merges(
            vec![(order(b'e'), order(b' ')), (order(b' '), order(b'a')), (order(b'0'), order(b'0'))],
            vec!["<|endoftext|>".into()],
            Pattern::new("gpt2").unwrap(),
        );
        let encoder = Arc::new(Encoder::new(vocab.unwrap()));
        let eot = encoder.vocab.size() as u32 - 1;
        let native = BpeEncoder::new(encoder.clone(), &[]);
        let job = bench.job(Request { eot: Some(eot), validation: 0.0, ..request(eot + 1) });
        let files = || Ok(Vec::new());
        let folder = bench.folder.0.join("core");
        let task = Task {
            job: &job,
            input: &bench.input,
            folder: &folder,
            threads: 2,
            share: ALL,
            force: false,
            files: &files,
        };
        let manifest = run(&task, &native, &mut |_| Ok(())).unwrap().manifest.unwrap();
        let ids = manifest.splits.train.shards.iter().flat_map(|shard| {
            let bytes = std::fs::read(folder.join(&shard.file)).unwrap();
            bytes.chunks_exact(2).map(|id| u32::from(u16::from_le_bytes([id[0], id[1]]))).collect::<Vec<_>>()
        });
        let (written, mut expected) = (ids.collect::<Vec<_>>(), Vec::new());
        for document in &bench.documents {
            encoder.encode_plainly(document.as_bytes(), &mut expected).unwrap();
            expected.push(eot);
        }
        assert_eq!(written, expected);
    }
}

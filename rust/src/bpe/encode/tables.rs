//! The vocabulary in the forms that encoding reads.

#[cfg(target_arch = "x86_64")]
use super::isa::Avx2;
use super::isa::{Isa, Work};
use super::packed_ids::Packing;
use super::short_cache::{Entry, ShortCache};
use crate::bpe::merge::by_rank::{merge, Parts};
use crate::bpe::merge::windows::WindowMerger;
use crate::bpe::model::longest_prefix::Prefixes;
use crate::bpe::model::token_borders::TokenBorders;
use crate::bpe::model::Model;
use crate::memory::key::{key_of, LONGEST};
use crate::memory::mapped_slice::MappedSlice;

/// 2^19 entries are 16 MB a thread: 60 MB of English prose have 230,000 besides the vocabulary. With half the room the
/// same text took 1.6 times as long.
const BITS: u32 = 19;

/// The vocabulary in the forms that encoding reads.
pub struct EncodeTables {
    /// What backtracking asks, where the vocabulary is regular.
    pub prefixes: Option<Prefixes>,
    pub borders: TokenBorders,
    /// Ids of every character of two or three bytes that stands alone, packed.
    pub chars: MappedSlice<[u64; 2]>,
    /// Wide vectors, where the processor has them.
    #[cfg(target_arch = "x86_64")]
    pub avx2: Option<Avx2>,
    /// Every token of up to 15 bytes and its own id, packed.
    pub seeds: MappedSlice<Entry>,
}

impl EncodeTables {
    /// `tokens`: by id.
    pub fn new<V: Packing>(model: &Model, tokens: &[Vec<u8>]) -> Self {
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
        Self::of_tables(prefixes, TokenBorders::new(inner.iter().copied()), chars.collect(), seeds.collect())
    }

    pub fn of_tables(
        prefixes: Option<Prefixes>,
        borders: TokenBorders,
        chars: MappedSlice<[u64; 2]>,
        seeds: MappedSlice<Entry>,
    ) -> Self {
        Self {
            prefixes,
            borders,
            chars,
            #[cfg(target_arch = "x86_64")]
            avx2: Avx2::here(),
            seeds,
        }
    }

    /// A cache that holds the vocabulary.
    pub fn cache(&self) -> ShortCache {
        let mut cache = ShortCache::new(BITS);
        for &entry in &*self.seeds {
            cache.seed(entry);
        }
        cache
    }

    /// The inner tokens of a pre-token, without the cache.
    pub fn tokens<'a>(
        &self,
        model: &Model,
        pre_token: &[u8],
        merger: &'a mut WindowMerger,
        isa: impl Isa,
    ) -> &'a [u32] {
        let Some(prefixes) = &self.prefixes else {
            merge(model, pre_token, &mut merger.parts);
            merger.tokens.clear();
            merger.tokens.extend(merger.parts.tokens());
            return &merger.tokens;
        };
        isa.run(Windows { merger, model, prefixes, pre_token })
    }
}

/// A pre-token to be merged in windows.
struct Windows<'a, 'b> {
    merger: &'a mut WindowMerger,
    model: &'b Model,
    prefixes: &'b Prefixes,
    pre_token: &'b [u8],
}

impl<'a> Work for Windows<'a, '_> {
    type Output = &'a [u32];

    #[inline(always)]
    fn run(self) -> &'a [u32] {
        self.merger.encode(self.model, self.prefixes, self.pre_token)
    }
}

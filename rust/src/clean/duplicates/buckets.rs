//! Documents that share a band, compared two by two, without ever comparing all of a crowd with all of it.
//!
//! A bucket of up to 64 documents is compared whole: first each with the first of them, then who is not joined yet. In
//! a larger one, ordered by the next band of its documents, each is compared with the 32 before it; the pairs that are
//! left so are counted. Documents whose sets are the same are no crowd: the first bucket of a document is that of its
//! whole set, where all are compared with the first, and who equals it comes no further.

use std::collections::HashSet;

use super::components::{Components, Marks};
use super::entry::Entry;
use super::verify::Verifier;
use crate::clean::words::Cut;
use crate::error::Result;

/// A bucket of more documents is a crowd, in which each is compared with `WINDOW` others: as many pairs as in the
/// largest bucket that is none.
const CROWD: usize = 64;
const WINDOW: usize = 32;
/// Documents of buckets that are looked at together, and pairs that are compared before any of them is joined. These
/// are constants, so that the pairs which are skipped as joined already are the same for any memory and threads.
const TOGETHER: usize = 1 << 16;
/// Pairs that are remembered as no duplicates: most meet in several bands.
const REMEMBERED: usize = 1 << 20;

pub(super) struct Buckets<'a> {
    components: Components,
    verifier: Verifier<'a>,
    cut: &'a (dyn Fn(u32) -> Cut + Sync),
    check: &'a (dyn Fn() -> Result<()> + Sync),
    /// Documents that equal an earlier one.
    equal: Marks,
    last: Option<Entry>,
    documents: Vec<u32>,
    /// Where each bucket begins in `documents`.
    starts: Vec<usize>,
    differ: HashSet<(u32, u32)>,
    compared: u64,
    left: u64,
}

impl<'a> Buckets<'a> {
    pub fn new(
        components: Components,
        verifier: Verifier<'a>,
        cut: &'a (dyn Fn(u32) -> Cut + Sync),
        check: &'a (dyn Fn() -> Result<()> + Sync),
    ) -> Self {
        let (documents, starts, differ) = (Vec::new(), Vec::new(), HashSet::new());
        let equal = Marks::new(components.count());
        Self { components, verifier, cut, check, equal, last: None, documents, starts, differ, compared: 0, left: 0 }
    }

    /// Takes the next band of a document, in order.
    pub fn take(&mut self, entry: Entry) -> Result<()> {
        let is_same = self.last.is_some_and(|last| last.bucket() == entry.bucket());
        if !is_same {
            self.begin(entry)?;
        }
        self.last = Some(entry);
        if !self.equal.has(entry.document()) {
            self.documents.push(entry.document());
        }
        Ok(())
    }

    fn begin(&mut self, entry: Entry) -> Result<()> {
        // a bucket of one is none
        if self.starts.last().is_some_and(|start| start + 1 >= self.documents.len()) {
            self.documents.truncate(self.starts.pop().unwrap_or_default());
        }
        let is_next_band = self.last.is_some_and(|last| last.band() != entry.band());
        if is_next_band || self.documents.len() >= TOGETHER {
            self.look()?;
        }
        self.starts.push(self.documents.len());
        Ok(())
    }

    pub fn finish(mut self) -> Result<(Components, u64, u64)> {
        self.look()?;
        Ok((self.components, self.compared, self.left))
    }

    /// Compares what has come together.
    fn look(&mut self) -> Result<()> {
        let (documents, starts) = (std::mem::take(&mut self.documents), std::mem::take(&mut self.starts));
        let ends = starts.iter().copied().skip(1).chain([documents.len()]);
        let buckets: Vec<&[u32]> = starts.iter().zip(ends).map(|(start, end)| &documents[*start..end]).collect();
        if self.last.is_some_and(|last| last.band() == 0) {
            self.equals(&buckets)?;
        } else {
            self.pairs(buckets.iter().flat_map(|bucket| nearest(bucket)))?;
            self.pairs(buckets.iter().flat_map(|bucket| others(bucket)))?;
            for bucket in buckets.iter().filter(|bucket| bucket.len() > CROWD) {
                self.left += self.apart(bucket);
            }
        }
        Ok(())
    }

    /// Compares documents whose whole sets have one sum with the first of them.
    fn equals(&mut self, buckets: &[&[u32]]) -> Result<()> {
        let pairs: Vec<_> = buckets.iter().flat_map(|bucket| nearest_to_first(bucket)).collect();
        for some in pairs.chunks(TOGETHER) {
            (self.check)()?;
            let same = Verifier { threshold: 1.0, ..self.verifier }.verify(some, self.cut)?;
            self.compared += some.len() as u64;
            for ((first, document), _) in some.iter().zip(same).filter(|(_, is_same)| *is_same) {
                self.components.join(*first, *document);
                self.equal.set(*document);
            }
        }
        Ok(())
    }

    /// Compares pairs and joins those that are near-duplicates, but for those that are joined or known to differ.
    fn pairs(&mut self, pairs: impl Iterator<Item = (u32, u32)>) -> Result<()> {
        let mut some = Vec::new();
        for (one, other) in pairs {
            let pair = (one.min(other), one.max(other));
            if !self.components.joined(one, other) && !self.differ.contains(&pair) {
                some.push(pair);
            }
            if some.len() == TOGETHER {
                self.compare(&mut some)?;
            }
        }
        self.compare(&mut some)
    }

    fn compare(&mut self, pairs: &mut Vec<(u32, u32)>) -> Result<()> {
        if pairs.is_empty() {
            return Ok(());
        }
        (self.check)()?;
        let are = self.verifier.verify(pairs, self.cut)?;
        self.compared += pairs.len() as u64;
        if self.differ.len() + pairs.len() > REMEMBERED {
            self.differ.clear();
        }
        for ((one, other), is_near) in pairs.drain(..).zip(are) {
            if is_near {
                self.components.join(one, other);
            } else {
                self.differ.insert((one, other));
            }
        }
        Ok(())
    }

    /// Pairs of a crowd that are in different components and were not compared.
    fn apart(&mut self, bucket: &[u32]) -> u64 {
        let pairs = |count: u64| count * (count - 1) / 2;
        let mut roots: Vec<u32> = bucket.iter().map(|document| self.components.root(*document)).collect();
        let mut near = 0;
        for (at, root) in roots.iter().enumerate() {
            near += roots[at.saturating_sub(WINDOW)..at].iter().filter(|other| *other != root).count() as u64;
        }
        roots.sort_unstable();
        let joined: u64 = roots.chunk_by(u32::eq).map(|same| pairs(same.len() as u64)).sum();
        pairs(bucket.len() as u64) - joined - near
    }
}

fn nearest_to_first(bucket: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    bucket.iter().skip(1).map(|document| (bucket[0], *document))
}

/// The pairs that are likely to join most: with the first, or in a crowd with the one before.
fn nearest(bucket: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let is_crowd = bucket.len() > CROWD;
    bucket.iter().enumerate().skip(1).map(move |(at, document)| (bucket[if is_crowd { at - 1 } else { 0 }], *document))
}

/// All pairs, or in a crowd those that stand close.
fn others(bucket: &[u32]) -> impl Iterator<Item = (u32, u32)> + '_ {
    let reach = if bucket.len() > CROWD { WINDOW } else { CROWD };
    bucket.iter().enumerate().flat_map(move |(at, document)| {
        bucket[at.saturating_sub(reach)..at].iter().map(move |earlier| (*earlier, *document))
    })
}

//! From hashes and sketches of all documents to who belongs together.

use std::path::Path;

use super::buckets::Buckets;
use super::components::{mark_alone, Components, Marks};
use super::entry::Entry;
use super::settings::{Near, Settings};
use super::sketcher::{CHARACTERS, NOTHING};
use super::sort::{Scratch, Sorted, Sorter};
use super::verify::{Place, Verifier};
use super::ALONE;
use crate::clean::words::Cut;
use crate::error::{Error, Result};

/// What was written of each document, in their order.
pub trait Sketched: Sync {
    fn count(&self) -> u32;

    /// Visits the hash and the sketch of each.
    fn each(&self, visit: &mut dyn FnMut(u128, &[u8]) -> Result<()>) -> Result<()>;
}

/// What clustering may use.
pub struct Means<'a> {
    /// About so many bytes, besides eight a document.
    pub memory: usize,
    /// Where folders for what outgrows it are made, and removed.
    pub scratch: &'a Path,
    pub threads: usize,
    /// Asked now and then whether to go on.
    pub check: &'a (dyn Fn() -> Result<()> + Sync),
}

/// Who belongs together. A cluster is the number of its first document, and `ALONE` where there is no other.
#[derive(Debug, PartialEq, Eq)]
pub struct Clusters {
    /// Documents that are the same but for white space.
    pub exact: Vec<u32>,
    /// Documents that are linked by pairs of near-duplicates, copies among them.
    pub near: Vec<u32>,
    /// Pairs whose sets were compared.
    pub compared: u64,
    /// Pairs of crowded buckets that were not: at most so many near-duplicates may have been missed for it.
    pub left: u64,
}

/// Groups documents. `keep` says which of them `FineWeb`'s `MinHash` is told of; all are otherwise.
pub fn clusters(
    source: &dyn Sketched,
    place: Place<'_>,
    settings: &Settings,
    keep: &dyn Fn(u32) -> bool,
    means: &Means<'_>,
) -> Result<Clusters> {
    let exact = copies(source, means)?;
    let (near, compared, left) = match settings.near {
        Near::Off => (vec![ALONE; exact.len()], 0, 0),
        Near::FineWeb => (fineweb(source, keep, means)?, 0, 0),
        Near::Jaccard(threshold) => {
            let verifier = Verifier { place, settings, threshold, memory: means.memory / 2, threads: means.threads };
            near(source, &exact, verifier, means)?
        }
    };
    Ok(Clusters { exact: mark_alone(exact), near, compared, left })
}

/// Visits every document's number, hash and sketch, and lets the caller stop it.
fn each(source: &dyn Sketched, means: &Means<'_>, mut visit: impl FnMut(u32, u128, &[u8]) -> Result<()>) -> Result<()> {
    let mut document = 0;
    source.each(&mut |hash, sketch| {
        if document % (1 << 16) == 0 {
            (means.check)()?;
        }
        visit(document, hash, sketch)?;
        document += 1;
        Ok(())
    })?;
    if document == source.count() {
        return Ok(());
    }
    Err(Error::data(format!("{document} sketches were written of {} documents", source.count()))
        .hint("remove the output folder, or add --force, and clean again"))
}

/// The first document of the same hash, of each document.
fn copies(source: &dyn Sketched, means: &Means<'_>) -> Result<Vec<u32>> {
    let mut sorter = Sorter::new(means.memory / 2, means.threads, &Scratch::new(means.scratch));
    each(source, means, |document, hash, _| sorter.push((hash, document)))?;
    let mut firsts: Vec<u32> = (0..source.count()).collect();
    let mut last = None;
    sorter.finish()?.each(&mut |(hash, document)| {
        match last {
            Some((same, first)) if same == hash => firsts[document as usize] = first,
            _ => last = Some((hash, document)),
        }
        Ok(())
    })?;
    Ok(firsts)
}

fn hashes_of(sketch: &[u8]) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
    sketch[1..].as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Documents that share a bucket's signature, and those that share one with them.
fn fineweb(source: &dyn Sketched, keep: &dyn Fn(u32) -> bool, means: &Means<'_>) -> Result<Vec<u32>> {
    let mut sorter = Sorter::new(means.memory / 2, means.threads, &Scratch::new(means.scratch));
    each(source, means, |document, _, sketch| {
        if sketch[0] == NOTHING || !keep(document) {
            return Ok(());
        }
        hashes_of(sketch).enumerate().try_for_each(|(band, hash)| sorter.push(Entry::new(band, hash, 0, document)))
    })?;
    let mut components = Components::new(source.count());
    let mut last: Option<Entry> = None;
    in_order(&sorter.finish()?, means, &mut |entry| {
        if let Some(last) = last.filter(|last| last.bucket() == entry.bucket()) {
            components.join(last.document(), entry.document());
        }
        last = Some(entry);
        Ok(())
    })?;
    Ok(components.into_clusters())
}

/// Documents whose sets agree, looked for among those that share a band.
fn near(
    source: &dyn Sketched,
    firsts: &[u32],
    verifier: Verifier<'_>,
    means: &Means<'_>,
) -> Result<(Vec<u32>, u64, u64)> {
    let mut sorter = Sorter::new(means.memory / 2, means.threads, &Scratch::new(means.scratch));
    let mut components = Components::new(source.count());
    let mut characters = Marks::new(source.count());
    each(source, means, |document, _, sketch| {
        let first = firsts[document as usize];
        if sketch[0] == NOTHING {
            return Ok(());
        }
        if first != document {
            components.join(first, document);
            return Ok(());
        }
        if sketch[0] == CHARACTERS {
            characters.set(document);
        }
        let mut orders = hashes_of(sketch).skip(2).chain(hashes_of(sketch).skip(1).take(1));
        for (band, hash) in hashes_of(sketch).enumerate() {
            // documents of a crowded bucket are ordered by their next band
            let order = if band == 0 { 0 } else { orders.next().unwrap_or_default() };
            sorter.push(Entry::new(band, hash, order, document))?;
        }
        Ok(())
    })?;
    let sorted = sorter.finish()?;
    let cut = |document| if characters.has(document) { Cut::Characters } else { Cut::Spaced };
    let mut buckets = Buckets::new(components, verifier, &cut, means.check);
    in_order(&sorted, means, &mut |entry| buckets.take(entry))?;
    let (components, compared, left) = buckets.finish()?;
    Ok((components.into_clusters(), compared, left))
}

fn in_order(sorted: &Sorted<Entry>, means: &Means<'_>, visit: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
    let mut count = 0u64;
    sorted.each(&mut |entry| {
        if count.is_multiple_of(1 << 18) {
            (means.check)()?;
        }
        count += 1;
        visit(entry)
    })
}

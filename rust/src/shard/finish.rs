//! The last step: cuts at the limit, puts validation together, writes the manifest. Killed at any moment and run again
//! it gives the same.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::begin::{ours_beside, remove_strays};
use super::limit::Limit;
use super::manifest::{Manifest, Shard, SkippedLines, Source, Split, Splits, FORMAT, MANIFEST, VERSION};
use super::merged::Merged;
use super::plan::{Header, Job};
use super::positioned_file::Tally;
use super::record::{file_name, record, stands, Half, Names, Record, LOG_ENTRY};
use super::task::Task;
use super::writer::LLMC_MOST;
use crate::error::{Error, Result};
use crate::files::{remove, remove_parts, remove_temporaries, sync_folder, to_json, write_atomically, PARTS};
use crate::input::Side;
use crate::lock::Lock;
use crate::ranks::alone;

/// What is kept of a shard.
struct Kept {
    shard: usize,
    record: Record,
    /// Fewer tokens than there are: the limit lies here.
    cut: bool,
}

/// The manifest, or how many shards are missing for it. `own` is the lock of who asks.
pub(super) fn finish(task: &Task<'_>, own: &Lock) -> Result<(Option<Manifest>, usize)> {
    let Task { job, folder, .. } = *task;
    let parts = task.parts();
    let _held = task.hold()?;
    if let Some(manifest) = Manifest::read(folder)? {
        remove_strays(task, &manifest)?;
        return Ok((Some(manifest), 0));
    }
    let limit = job.settings.request.limit;
    let mut kept: Vec<Kept> = Vec::new();
    let (mut sums, mut missing) = ((0, 0, 0), 0);
    for shard in 0..job.shards.len() {
        if limit.is_some_and(|limit| limit.reached(sums.0, sums.1, sums.2)) {
            break;
        }
        let names = Names { folder, shard };
        match record(&names, job).filter(|record| stands(&names, record, job)) {
            Some(record) => {
                let (documents, bytes, tokens) = record.totals();
                sums = (sums.0 + documents, sums.1 + bytes, sums.2 + tokens);
                kept.push(Kept { shard, record, cut: false });
            }
            None => missing += 1,
        }
    }
    if missing > 0 {
        return Ok((None, missing));
    }
    if let Some(limit) = limit {
        cut(job, folder, limit, &mut kept)?;
    }
    let tokens: u64 = kept.iter().map(|kept| kept.record.totals().2).sum();
    if tokens == 0 {
        return Err(Error::data("the sources hold no text").hint("check the files, --split, --field and --column"));
    }
    let train = train_split(job, folder, &kept)?;
    let val = val_split(job, folder, &kept)?;
    let mut skipped = Record::default();
    for kept in &kept {
        let count = kept.record.skipped;
        skipped.skip(kept.record.first_skipped.clone());
        skipped.skipped += count - kept.record.first_skipped.len() as u64;
    }
    let request = &job.settings.request;
    let manifest = Manifest {
        format: FORMAT.into(),
        version: VERSION,
        dtype: job.settings.dtype,
        header: request.header,
        vocab_size: request.vocab_size,
        eot: request.eot,
        tokenizer: request.tokenizer.clone(),
        splits: Splits { train, val },
        sources: job.sources.iter().map(Source::of).collect(),
        settings: job.settings.clone(),
        skipped: SkippedLines { count: skipped.skipped, first: skipped.first_skipped },
        replaced_bytes: kept.iter().map(|kept| kept.record.replaced).sum(),
        made: None,
        beside: None,
        seal: None,
    }
    .sealed(folder)?;
    for shard in kept.len()..job.shards.len() {
        let names = Names { folder, shard };
        remove(&names.final_ids())?;
        remove(&names.final_index())?;
    }
    // shards have their names before the manifest says so
    sync_folder(folder)?;
    write_atomically(&folder.join(MANIFEST), &to_json(&manifest))?;
    if alone(&parts, Some(own)) {
        remove_temporaries(folder, ours_beside);
    }
    remove_parts(&parts)?;
    Ok((Some(manifest), 0))
}

/// Leaves of the last shard what the limit wants, by its log of documents.
fn cut(job: &Job, folder: &Path, limit: Limit, kept: &mut [Kept]) -> Result<()> {
    let Some((last, before)) = kept.split_last_mut() else { return Ok(()) };
    let sum = |sums: (u64, u64, u64), add: (u64, u64, u64)| (sums.0 + add.0, sums.1 + add.1, sums.2 + add.2);
    let mut sums = before.iter().fold((0, 0, 0), |sums, kept| sum(sums, kept.record.totals()));
    if !limit.reached(sums.0, sums.1, sums.2) {
        let all = sum(sums, last.record.totals());
        if !limit.reached(all.0, all.1, all.2) {
            return Ok(());
        }
    }
    let names = Names { folder, shard: last.shard };
    let path = names.log();
    let failed = |error: std::io::Error| Error::io("read", &path, &error);
    let mut log = BufReader::new(File::open(&path).map_err(failed)?);
    let mut tally = Tally::new();
    let mut reached = false;
    let mut halves = [Half::default(), Half::default()];
    let mut entry = [0; LOG_ENTRY as usize];
    for _ in 0..last.record.log_entries {
        log.read_exact(&mut entry).map_err(failed)?;
        tally.append(&entry);
        if reached {
            continue;
        }
        let (packed, tokens) = (number(&entry[..8]), number(&entry[8..]));
        let (bytes, part, side) = (packed >> 2, packed >> 1 & 1 == 1, (packed & 1) as usize);
        let half = &mut halves[side];
        half.tokens += tokens;
        half.text_bytes += bytes;
        half.open = Some(part);
        if !part {
            half.documents += 1;
            half.entries += 1;
        }
        sums = sum(sums, (u64::from(!part), bytes, tokens));
        reached = limit.reached(sums.0, sums.1, sums.2);
    }
    if tally.digest() != last.record.log_hash {
        remove(&names.record())?;
        return Err(Error::data(format!("{} is damaged", path.display()))
            .hint("run the same command again: it writes that shard anew"));
    }
    for (side, half) in halves.into_iter().enumerate() {
        let record = &mut last.record.halves[side];
        let whole = record.tokens == half.tokens;
        let entries = half.entries;
        *record = if whole { record.clone() } else { half };
        last.cut |= !whole;
        if !whole && record.open == Some(true) {
            record.entries = entries + 1;
        }
    }
    if last.cut {
        shorten(job, &names, &mut last.record.halves[0])?;
    }
    Ok(())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

/// Replaces a train shard by its beginning. The record keeps the old size: a run that is killed here encodes the shard
/// again rather than trust it.
fn shorten(job: &Job, names: &Names<'_>, half: &mut Half) -> Result<()> {
    let (ids, index) = (names.final_ids(), names.final_index());
    if half.tokens == 0 {
        remove(&ids)?;
        return remove(&index);
    }
    let base = job.header_bytes();
    let (request, dtype) = (&job.settings.request, job.settings.dtype);
    let mut merged = Merged::create(&names.folder.join(PARTS), "cut", request.header, dtype)?;
    merged.append(&ids, base, &index, half, false)?;
    let shard = merged.finish(&ids, &index)?;
    (half.hash, half.index_hash) = (shard.hash, shard.index_hash);
    Ok(())
}

fn train_split(job: &Job, folder: &Path, kept: &[Kept]) -> Result<Split> {
    let mut split = Split::default();
    let mut open = false;
    for kept in kept {
        let half = &kept.record.halves[0];
        split.documents += half.documents;
        split.text_bytes += half.text_bytes + half.open_bytes;
        split.tokens += half.tokens;
        if half.tokens == 0 {
            let names = Names { folder, shard: kept.shard };
            remove(&names.final_ids())?;
            remove(&names.final_index())?;
        } else {
            split.shards.push(Shard {
                file: file_name(Side::Train, kept.shard, "bin"),
                tokens: half.tokens,
                documents: half.entries,
                starts_inside: open,
                bytes: job.header_bytes() + half.tokens * job.settings.dtype.size(),
                hash: half.hash.clone(),
                index_bytes: 8 * (1 + half.entries),
                index_hash: half.index_hash.clone(),
            });
        }
        open = half.open.unwrap_or(open);
    }
    Ok(split)
}

/// Validation of all shards, in files of their own.
fn val_split(job: &Job, folder: &Path, kept: &[Kept]) -> Result<Split> {
    let mut split = Split::default();
    let mut merged: Option<Merged> = None;
    let mut open = false;
    let mut starts_inside = false;
    for kept in kept {
        let half = &kept.record.halves[1];
        split.documents += half.documents;
        split.text_bytes += half.text_bytes + half.open_bytes;
        split.tokens += half.tokens;
        if half.tokens > 0 {
            let request = &job.settings.request;
            let full = |merged: &Merged| {
                merged.tokens + half.tokens / 2 > request.shard_tokens
                    || (request.header == Header::Llmc && merged.tokens + half.tokens > LLMC_MOST)
            };
            if merged.as_ref().is_some_and(full) {
                let done = merged.take().map(|merged| finish_val(folder, merged, split.shards.len(), starts_inside));
                split.shards.extend(done.transpose()?);
            }
            let names = Names { folder, shard: kept.shard };
            if merged.is_none() {
                starts_inside = open;
                merged = Some(Merged::create(&folder.join(PARTS), "merged", request.header, job.settings.dtype)?);
            }
            let Some(target) = &mut merged else { continue };
            let goes_on = open && target.tokens > 0;
            target.append(&names.ids(Side::Validation), 0, &names.index(Side::Validation), half, goes_on)?;
        }
        open = half.open.unwrap_or(open);
    }
    let done = merged.map(|merged| finish_val(folder, merged, split.shards.len(), starts_inside));
    split.shards.extend(done.transpose()?);
    Ok(split)
}

fn finish_val(folder: &Path, merged: Merged, number: usize, starts_inside: bool) -> Result<Shard> {
    let file = file_name(Side::Validation, number, "bin");
    let index = folder.join(file_name(Side::Validation, number, "idx"));
    let shard = merged.finish(&folder.join(&file), &index)?;
    Ok(Shard { file, starts_inside, ..shard })
}

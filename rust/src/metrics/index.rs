//! `metrics.idx`, beside metrics.jsonl: its columns as they are in memory, so that a second opening reads no line.
//!
//! `PYLMIDX1`, a u64 with the length of the JSON that follows, that JSON, then at multiples of eight the bits of the
//! lines that have a number and the numbers, each column's as narrow as nothing is lost. It is made anew whenever it
//! does not fit its file, and nobody misses it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, Xxh3};

use super::column::Column;
use super::table::Table;
use super::width::{Place, Width};
use crate::files::write_parts_lightly;

const MAGIC: &[u8; 8] = b"PYLMIDX1";
/// Parts of the file that are compared, and how long each is.
const PROBES: usize = 32;
const PROBE: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Header {
    /// Bytes of metrics.jsonl that are in here, whole lines.
    bytes: u64,
    lines: u32,
    probes: u64,
    /// When the file was changed last, in nanoseconds.
    changed: u64,
    columns: Vec<Described>,
}

#[derive(Serialize, Deserialize)]
struct Described {
    key: String,
    width: Width,
    count: usize,
    words: usize,
    /// Of the bits and the numbers.
    hash: u64,
}

/// Writes the columns of the first `bytes` of a file; where that cannot be, they are read from the lines again.
pub(super) fn write(path: &Path, table: &Table, text: &[u8], changed: u64) {
    let (mut columns, mut parts) = (Vec::new(), vec![Vec::new()]);
    for column in &table.columns {
        let values = column.values();
        let width = Width::of(&values);
        let mut part: Vec<u8> = column.present().iter().flat_map(|word| word.to_le_bytes()).collect();
        width.narrow(&values, &mut part);
        part.resize(part.len().next_multiple_of(8), 0);
        let (key, count, words) = (column.key.clone(), values.len(), column.present().len());
        columns.push(Described { key, width, count, words, hash: xxh3_64(&part) });
        parts.push(part);
    }
    let header = Header { bytes: text.len() as u64, lines: table.lines, probes: probes(text), changed, columns };
    let mut head = serde_json::to_vec(&header).unwrap_or_default();
    head.resize(head.len().next_multiple_of(8), b' ');
    parts[0] = [MAGIC.as_slice(), &(head.len() as u64).to_le_bytes(), &head].concat();
    let _ = write_parts_lightly(path, &parts);
}

/// The columns of a file and how many of its bytes they are of; None where the index is of another file, or damaged.
pub(super) fn read(path: &Path, text: &[u8], changed: u64) -> Option<(Table, usize)> {
    // SAFETY: the bytes are read as bytes. Nobody writes to the file: it is replaced.
    let map = Arc::new(unsafe { Mmap::map(&File::open(path).ok()?) }.ok()?);
    if map.get(..8)? != MAGIC {
        return None;
    }
    let length = u64::from_le_bytes(map.get(8..16)?.try_into().ok()?) as usize;
    let header: Header = serde_json::from_slice(map.get(16..length.checked_add(16)?)?).ok()?;
    let bytes = header.bytes as usize;
    let same = text.len() > bytes || (text.len() == bytes && changed == header.changed);
    if !same || probes(text.get(..bytes)?) != header.probes {
        return None;
    }
    let (mut at, mut columns) = (16 + length, Vec::new());
    for column in header.columns {
        let values = at.checked_add(column.words.checked_mul(8)?)?;
        let end = values.checked_add(column.count.checked_mul(column.width.bytes())?)?.checked_next_multiple_of(8)?;
        if xxh3_64(map.get(at..end)?) != column.hash {
            return None;
        }
        let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let present: Vec<u64> = map.get(at..values)?.chunks_exact(8).map(word).collect();
        let place = Place { values, count: column.count, width: column.width };
        columns.push(Column::mapped(column.key, present, map.clone(), place));
        at = end;
    }
    Some((Table::with_columns(columns, header.lines), bytes))
}

/// A hash of parts of a text, its beginning and its end among them: lines that were taken back move the end.
fn probes(text: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    let last = text.len().saturating_sub(PROBE);
    for number in 0..PROBES {
        let start = last * number / (PROBES - 1);
        hash.update(&text[start..(start + PROBE).min(text.len())]);
    }
    hash.digest()
}

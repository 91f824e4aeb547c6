//! The text column of a parquet file, row group by row group.

use std::ops::Range;

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::chunks::Chunks;
use super::columns::{Beside, Extra};
use super::pages::{Pages, Walk, BATCH};
use super::raw::Content;
use super::texts::Documents;
use super::{Input, Mark, SourceFile};
use crate::error::{Error, Result};

/// Bytes of a row group that are held where several columns are read.
const HELD: u64 = 32 << 20;

/// Reads documents from a range of row groups.
pub(super) struct Rows {
    reader: SerializedFileReader<Chunks>,
    chunks: Chunks,
    name: String,
    column: usize,
    nullable: bool,
    groups: Range<usize>,
    beside: Beside,
    /// Whether pages may be left to other threads to unpack.
    apart: bool,
    walk: Option<Walk>,
    /// Pages that come after what is read now.
    waiting: Option<Pages>,
    current: Option<Group>,
    /// The row group that is being read, and the rows of it that were.
    mark: Mark,
}

struct Group {
    texts: ColumnReaderImpl<ByteArrayType>,
    extra: Extra,
}

/// Of each row group: rows, and bytes of the column before compression.
pub(super) fn groups(file: &SourceFile, column: &str) -> Result<Vec<(u64, u64)>> {
    let (reader, _) = open(file)?;
    let (index, _) = find(reader.metadata(), file, column)?;
    let groups = reader.metadata().row_groups();
    Ok(groups.iter().map(|group| (group.num_rows() as u64, group.column(index).uncompressed_size() as u64)).collect())
}

fn open(file: &SourceFile) -> Result<(SerializedFileReader<Chunks>, Chunks)> {
    let chunks = Chunks::open(&file.place)?;
    let reader = SerializedFileReader::new(chunks.clone());
    Ok((reader.map_err(|error| damaged(&file.name, &chunks, &error))?, chunks))
}

pub(super) fn damaged(name: &str, chunks: &Chunks, error: &ParquetError) -> Error {
    chunks.failure().unwrap_or_else(|| unsound(name, error))
}

pub(super) fn unsound(name: &str, error: &ParquetError) -> Error {
    Error::data(format!("{name} is no sound parquet file: {error}")).hint("fetch or write the file again")
}

/// The index of the column, and whether it has nulls.
fn find(metadata: &ParquetMetaData, file: &SourceFile, column: &str) -> Result<(usize, bool)> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let Some(index) = columns.iter().position(|found| found.path().string() == column) else {
        let names: Vec<String> = columns.iter().map(|found| found.path().string()).collect();
        return Err(Error::usage(format!("{} has no column {column:?}", file.name))
            .hint(format!("name one with --column; it has: {}", names.join(", "))));
    };
    let found = &columns[index];
    if found.physical_type() != Type::BYTE_ARRAY || found.max_rep_level() != 0 {
        return Err(Error::usage(format!("column {column:?} of {} holds no text", file.name))
            .hint("name a column of strings with --column"));
    }
    for group in metadata.row_groups() {
        let codec = group.column(index).compression();
        if matches!(codec, Compression::BROTLI(_) | Compression::LZO) {
            let codec = if codec == Compression::LZO { "lzo" } else { "brotli" };
            let name = &file.name;
            return Err(Error::data(format!("{name} is a sound parquet file packed with {codec}, which is not read"))
                .hint(format!(
                    "pack it with zstd: python -c \"import pyarrow.parquet as p; \
                     p.write_table(p.read_table('{name}'), '{}-zstd.parquet', compression='zstd')\"",
                    name.trim_end_matches(".parquet")
                )));
        }
    }
    Ok((index, found.max_def_level() > 0))
}

/// Where the columns lie in the row groups.
fn ranges(metadata: &ParquetMetaData, column: usize, groups: &Range<usize>, name: &str) -> Result<Vec<Range<u64>>> {
    let range = |group: usize| {
        let chunk = metadata.row_group(group).column(column);
        let start = chunk.dictionary_page_offset().unwrap_or(chunk.data_page_offset());
        let (start, length) = (u64::try_from(start).ok()?, u64::try_from(chunk.compressed_size()).ok()?);
        Some(start..start.checked_add(length)?)
    };
    let damaged = || Error::data(format!("{name} is no sound parquet file: a column begins before it"));
    groups.clone().map(range).collect::<Option<_>>().ok_or_else(damaged)
}

impl Rows {
    /// `mark`: the row group to begin with, and how many rows of it are left out.
    pub fn open(file: &SourceFile, input: &Input, end: u64, mark: Mark) -> Result<Self> {
        let (reader, chunks) = open(file)?;
        let (column, nullable) = find(reader.metadata(), file, &input.options.column)?;
        let count = reader.metadata().num_row_groups();
        let [start, end] = [mark.at, end].map(|group| usize::try_from(group).unwrap_or(count).min(count));
        let groups = start..end.max(start);
        let beside = Beside::find(reader.metadata(), file, column, &input.options)?;
        let columns = beside.columns.iter().copied().chain([column]);
        let columns = columns.map(|index| ranges(reader.metadata(), index, &groups, &file.name));
        let columns: Vec<_> = columns.collect::<Result<_>>()?;
        // small row groups as a whole, in few requests; of large ones each column by itself
        let bytes = |group: usize| columns.iter().map(|column| column[group].end - column[group].start).sum::<u64>();
        if columns.len() > 1 && (0..groups.len()).all(|group| bytes(group) <= HELD) {
            chunks.expect(columns.concat(), &input.options, true);
        } else {
            for ranges in columns {
                chunks.expect(ranges, &input.options, false);
            }
        }
        let (name, apart) = (file.name.clone(), input.options.apart && beside.columns.is_empty());
        let (walk, waiting, current) = (None, None, None);
        Ok(Self { reader, chunks, name, column, nullable, groups, beside, apart, walk, waiting, current, mark })
    }

    /// Where reading goes on after what was returned.
    pub fn mark(&self) -> Mark {
        let groups = self.reader.metadata().row_groups();
        let rows = groups.get(self.mark.at as usize).map(|group| group.num_rows() as u64);
        if rows == Some(self.mark.row) {
            return Mark { at: self.mark.at + 1, ..Mark::default() };
        }
        self.mark
    }

    /// About `size` bytes; None after the last.
    pub fn next(&mut self, size: usize) -> Result<Option<Content>> {
        let mut found = Documents::default();
        loop {
            if self.current.is_some() {
                let rows = self.read(&mut found).map_err(|error| damaged(&self.name, &self.chunks, &error))?;
                if found.text.len() >= size {
                    return Ok(Some(Content::Documents(found)));
                }
                if rows > 0 {
                    continue;
                }
                self.current = None;
                if self.walk.is_none() {
                    self.mark = Mark { at: self.mark.at + 1, ..Mark::default() };
                }
            }
            if let Some(pages) = self.waiting.take() {
                self.mark.row += pages.rows();
                return Ok(Some(Content::Pages(Box::new(pages))));
            }
            let more = self.walk(size).map_err(|error| damaged(&self.name, &self.chunks, &error))?;
            let is_empty = found.ends.is_empty() && found.nulls == 0;
            if !is_empty && (!more || self.waiting.is_some()) {
                return Ok(Some(Content::Documents(found)));
            }
            if !more {
                return Ok(None);
            }
        }
    }

    /// Reads some rows of what is current; of none it is at its end.
    fn read(&mut self, found: &mut Documents) -> Result<usize, ParquetError> {
        let Some(current) = &mut self.current else { return Ok(0) };
        let (mut levels, mut notes) = (Vec::<i16>::new(), Vec::new());
        let mut values: Vec<ByteArray> = Vec::with_capacity(BATCH);
        let levels_read = self.nullable.then_some(&mut levels);
        let (rows, ..) = current.texts.read_records(BATCH, levels_read, None, &mut values)?;
        current.extra.read(rows, &mut notes)?;
        for value in &values {
            found.text.extend_from_slice(value.data());
            found.ends.push(found.text.len());
        }
        // of a row without text there is no level so deep
        let texts = |row: usize| levels.get(row).is_none_or(|&level| level == self.beside.level);
        found.nulls += (rows - values.len()) as u64;
        found.notes.extend(notes.into_iter().enumerate().filter(|(row, _)| texts(*row)).map(|(_, note)| note));
        self.mark.row += rows as u64;
        Ok(rows)
    }

    /// Begins with what comes next: pages for another thread, or what is read here. False after the last.
    fn walk(&mut self, size: usize) -> Result<bool, ParquetError> {
        if let Some(walk) = &mut self.walk {
            match walk.next(&self.chunks, size)? {
                Some(pages) if pages.apart => self.waiting = Some(pages),
                Some(pages) => self.current = Some(Group { texts: pages.reader()?, extra: Extra::default() }),
                None => {
                    self.walk = None;
                    self.mark = Mark { at: self.mark.at + 1, ..Mark::default() };
                }
            }
            return Ok(true);
        }
        let Some(group) = self.groups.next() else { return Ok(false) };
        if self.apart {
            let metadata = self.reader.metadata().row_group(group);
            let chunk = metadata.column(self.column);
            let (start, length) = chunk.byte_range();
            self.chunks.let_go(start);
            let skip = if group as u64 == self.mark.at { self.mark.row } else { 0 };
            self.walk = Some(Walk::new(chunk, start..start + length, metadata.num_rows() as u64, skip));
        } else {
            self.current = Some(self.begin(group)?);
        }
        Ok(true)
    }

    fn begin(&self, group: usize) -> Result<Group, ParquetError> {
        let columns = self.beside.columns.iter().copied().chain([self.column]);
        let begins = columns.map(|column| self.reader.metadata().row_group(group).column(column).byte_range().0);
        self.chunks.let_go(begins.min().unwrap_or(0));
        let reader = self.reader.get_row_group(group)?;
        let ColumnReader::ByteArrayColumnReader(mut texts) = reader.get_column_reader(self.column)? else {
            return Err(ParquetError::General("its columns changed while it was read".into()));
        };
        let mut extra = self.beside.of(&*reader)?;
        let skipped = if group as u64 == self.mark.at { self.mark.row } else { 0 };
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        texts.skip_records(skipped)?;
        extra.skip(skipped)?;
        Ok(Group { texts, extra })
    }
}

//! The text column of a parquet file, row group by row group.

use std::fs::File;
use std::ops::Range;

use parquet::basic::{Compression, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::SourceFile;
use crate::error::{Error, Result};

/// Rows decoded at a time: a bound on what is held where rows are long.
const BATCH: usize = 64;

/// Reads documents from a range of row groups.
pub(super) struct Rows {
    reader: SerializedFileReader<File>,
    name: String,
    column: usize,
    nullable: bool,
    groups: Range<usize>,
    current: Option<ColumnReaderImpl<ByteArrayType>>,
}

/// Of each row group: rows, and bytes of the column before compression.
pub(super) fn groups(file: &SourceFile, column: &str) -> Result<Vec<(u64, u64)>> {
    let reader = open(file)?;
    let (index, _) = find(reader.metadata(), file, column)?;
    let groups = reader.metadata().row_groups();
    Ok(groups.iter().map(|group| (group.num_rows() as u64, group.column(index).uncompressed_size() as u64)).collect())
}

fn open(file: &SourceFile) -> Result<SerializedFileReader<File>> {
    let opened = File::open(&file.path).map_err(|error| Error::io("read", &file.path, &error))?;
    SerializedFileReader::new(opened).map_err(|error| damaged(&file.name, &error))
}

fn damaged(name: &str, error: &ParquetError) -> Error {
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

impl Rows {
    pub fn open(file: &SourceFile, column: &str, groups: Range<usize>) -> Result<Self> {
        let reader = open(file)?;
        let (column, nullable) = find(reader.metadata(), file, column)?;
        let groups = groups.start..groups.end.min(reader.metadata().num_row_groups());
        Ok(Self { reader, name: file.name.clone(), column, nullable, groups, current: None })
    }

    /// Documents back to back and their ends, about `size` bytes; None after the last.
    pub fn next(&mut self, size: usize) -> Result<Option<(Vec<u8>, Vec<usize>)>> {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let mut levels: Vec<i16> = Vec::new();
        let mut values: Vec<ByteArray> = Vec::with_capacity(BATCH);
        loop {
            if let Some(current) = &mut self.current {
                levels.clear();
                values.clear();
                let levels = self.nullable.then_some(&mut levels);
                let (rows, _, _) = current
                    .read_records(BATCH, levels, None, &mut values)
                    .map_err(|error| damaged(&self.name, &error))?;
                for value in &values {
                    text.extend_from_slice(value.data());
                    ends.push(text.len());
                }
                if text.len() >= size {
                    return Ok(Some((text, ends)));
                }
                if rows > 0 {
                    continue;
                }
            }
            let Some(group) = self.groups.next() else {
                self.current = None;
                return Ok((!ends.is_empty()).then_some((text, ends)));
            };
            let reader = self
                .reader
                .get_row_group(group)
                .and_then(|group| group.get_column_reader(self.column))
                .map_err(|error| damaged(&self.name, &error))?;
            self.current = match reader {
                ColumnReader::ByteArrayColumnReader(reader) => Some(reader),
                _ => return Err(Error::data(format!("{} changed its columns while it was read", self.name))),
            };
        }
    }
}

//! The pages of a parquet file's text column, cut off unread, so that several threads unpack them side by side.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

use super::chunks::Chunks;
use super::page_header::{Header, Kind};
use super::texts::Documents;

/// Rows decoded at a time: a bound on what is held where rows are long.
pub(super) const BATCH: usize = 64;

/// Bytes of a page, unpacked, up to which it is one thread's work: a larger one is read some rows at a time.
const LARGEST: u64 = 4 << 20;

/// Pages of one row group, with the dictionary that they need.
pub(super) struct Pages {
    meta: ColumnChunkMetaData,
    /// Headers and contents in turn, and where each would begin in a file of them alone.
    parts: Vec<(u64, Bytes)>,
    length: u64,
    dictionary: u64,
    unpacked: u64,
    /// Whether any thread may unpack them: their size is known and small.
    pub apart: bool,
    /// With those that are null, and those that are left out.
    rows: u64,
    /// Rows at the beginning that are left out.
    skip: u64,
}

impl Pages {
    fn new(meta: &ColumnChunkMetaData, apart: bool, skip: u64) -> Self {
        let (meta, parts) = (meta.clone(), Vec::new());
        Self { meta, parts, length: 0, dictionary: 0, unpacked: 0, apart, rows: 0, skip }
    }

    fn push(&mut self, page: Page) {
        for part in [page.header, page.content] {
            let start = self.length;
            self.length += part.len() as u64;
            self.parts.push((start, part));
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows - self.skip
    }

    /// About as many bytes as their texts.
    pub fn unpacked(&self) -> usize {
        self.unpacked as usize
    }

    /// Reads the rows that are not left out.
    pub fn reader(self) -> Result<ColumnReaderImpl<ByteArrayType>, ParquetError> {
        let dictionary = (self.dictionary > 0).then_some(0);
        let meta = self.meta.clone().into_builder().set_dictionary_page_offset(dictionary);
        let meta = meta.set_data_page_offset(self.dictionary as i64).set_total_compressed_size(self.length as i64);
        let meta = meta.set_num_values(self.rows as i64).build()?;
        let (rows, skip) = (self.rows as usize, self.skip as usize);
        let descriptor = meta.column_descr_ptr();
        let pages = SerializedPageReader::new(Arc::new(self), &meta, rows, None)?;
        let mut reader = ColumnReaderImpl::new(descriptor, Box::new(pages));
        reader.skip_records(skip)?;
        Ok(reader)
    }

    pub fn documents(self) -> Result<Documents, ParquetError> {
        let (nullable, unpacked) = (self.meta.column_descr().max_def_level() > 0, self.unpacked());
        let mut found = Documents { text: Vec::with_capacity(unpacked), ..Documents::default() };
        let mut reader = self.reader()?;
        let (mut levels, mut values) = (Vec::new(), Vec::<ByteArray>::new());
        loop {
            levels.clear();
            values.clear();
            let (rows, ..) = reader.read_records(BATCH, nullable.then_some(&mut levels), None, &mut values)?;
            if rows == 0 {
                return Ok(found);
            }
            found.nulls += (rows - values.len()) as u64;
            for value in &values {
                found.text.extend_from_slice(value.data());
                found.ends.push(found.text.len());
            }
        }
    }

    fn part(&self, at: u64) -> Result<Bytes, ParquetError> {
        let index = self.parts.partition_point(|(start, _)| *start <= at);
        let (start, part) = index.checked_sub(1).and_then(|index| self.parts.get(index)).ok_or_else(short)?;
        let within = (at - start) as usize;
        if within > part.len() {
            return Err(short());
        }
        Ok(part.slice(within..))
    }
}

fn short() -> ParquetError {
    ParquetError::EOF("a page is shorter than its header says".into())
}

impl Length for Pages {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Pages {
    type T = bytes::buf::Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(self.part(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let part = self.part(start)?;
        if part.len() < length {
            return Err(short());
        }
        Ok(part.slice(..length))
    }
}

#[derive(Clone)]
struct Page {
    header: Bytes,
    content: Bytes,
}

/// Goes through the pages of a row group.
pub(super) struct Walk {
    meta: ColumnChunkMetaData,
    at: u64,
    end: u64,
    /// Rows that are still to come, and how many of them are left out.
    rows: u64,
    skip: u64,
    dictionary: Option<Page>,
    /// That of the page at `at`, where it was read.
    header: Option<Header>,
}

impl Walk {
    pub fn new(meta: &ColumnChunkMetaData, range: Range<u64>, rows: u64, skip: u64) -> Self {
        let Range { start: at, end } = range;
        Self { meta: meta.clone(), at, end, rows, skip, dictionary: None, header: None }
    }

    /// Pages of about `size` bytes, or one whose texts may be much more; None after the last.
    pub fn next(&mut self, chunks: &Chunks, size: usize) -> Result<Option<Pages>, ParquetError> {
        let mut open: Option<Pages> = None;
        while self.rows > 0 && self.at < self.end {
            let header = match self.header.take() {
                Some(header) => header,
                None => Header::read(chunks.get_read(self.at)?)?,
            };
            match header.kind {
                Kind::Data if open.is_none() && self.skip >= header.rows => {
                    self.skip -= header.rows;
                    self.rows = self.rows.saturating_sub(header.rows);
                    self.pass(&header);
                }
                Kind::Data => {
                    let apart = header.plain && header.unpacked <= LARGEST;
                    if open.is_some() && !apart {
                        self.header = Some(header);
                        break;
                    }
                    let skip = std::mem::take(&mut self.skip);
                    let pages = open.get_or_insert_with(|| Pages::new(&self.meta, apart, skip));
                    if let (false, Some(dictionary)) = (header.plain, &self.dictionary) {
                        pages.push(dictionary.clone());
                        pages.dictionary = pages.length;
                    }
                    pages.rows += header.rows;
                    pages.unpacked += header.unpacked;
                    self.rows = self.rows.saturating_sub(header.rows);
                    let page = self.take(chunks, header)?;
                    pages.push(page);
                    if !apart || pages.unpacked() >= size {
                        break;
                    }
                }
                Kind::Dictionary => self.dictionary = Some(self.take(chunks, header)?),
                Kind::Other => self.pass(&header),
            }
        }
        if open.is_none() && self.rows > 0 {
            return Err(ParquetError::EOF(format!("{} rows are missing", self.rows)));
        }
        Ok(open)
    }

    fn pass(&mut self, header: &Header) {
        self.at += header.bytes.len() as u64 + header.packed;
    }

    fn take(&mut self, chunks: &Chunks, header: Header) -> Result<Page, ParquetError> {
        let start = self.at + header.bytes.len() as u64;
        self.pass(&header);
        let content = chunks.get_bytes(start, header.packed as usize)?;
        Ok(Page { header: header.bytes.into(), content })
    }
}

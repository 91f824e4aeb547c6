//! What a parquet file holds beside its texts: a number for each, or all the other columns as JSON.

use std::sync::Arc;

use parquet::basic::Type as Physical;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::RowGroupReader;
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type, TypePtr};

use super::{Note, Options, SourceFile};
use crate::error::{Error, Result};

/// Which columns are read beside the text.
pub(super) struct Beside {
    /// Their places among the leaves of the schema.
    pub columns: Vec<usize>,
    /// The definition level of a text that is there.
    pub level: i16,
    /// The number.
    extra: Option<usize>,
    /// The schema without the text.
    others: Option<SchemaDescPtr>,
}

impl Beside {
    pub fn find(metadata: &ParquetMetaData, file: &SourceFile, text: usize, options: &Options) -> Result<Self> {
        let schema = metadata.file_metadata().schema_descr();
        let level = schema.column(text).max_def_level();
        let mut beside = Self { columns: Vec::new(), level, extra: None, others: None };
        if let Some(name) = &options.extra {
            let found = schema.columns().iter().position(|column| column.path().string() == *name);
            let Some(index) = found else {
                let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
                return Err(Error::usage(format!("{} has no column {name:?}", file.name))
                    .hint(format!("it has: {}", names.join(", "))));
            };
            let column = schema.column(index);
            if !matches!(column.physical_type(), Physical::INT32 | Physical::INT64) || column.max_rep_level() != 0 {
                return Err(Error::usage(format!("column {name:?} of {} holds no whole numbers", file.name))
                    .hint("name a column of whole numbers"));
            }
            beside.extra = Some(index);
            beside.columns.push(index);
        }
        if options.meta {
            let root = without(&schema.root_schema_ptr(), schema.column(text).path().parts());
            beside.others = root.map(|root| Arc::new(SchemaDescriptor::new(root)));
            let others = (0..schema.num_columns()).filter(|&index| index != text && Some(index) != beside.extra);
            beside.columns.extend(others);
        }
        Ok(beside)
    }

    pub fn of(&self, group: &dyn RowGroupReader) -> Result<Extra, ParquetError> {
        let numbers = self.extra.map(|index| Numbers::new(group.get_column_reader(index)?)).transpose()?;
        let others =
            self.others.as_ref().map(|schema| TreeBuilder::new().as_iter(schema.clone(), group)).transpose()?;
        Ok(Extra { numbers, others })
    }
}

/// A part of a schema without the leaf at this path; None where nothing is left.
fn without(part: &TypePtr, path: &[String]) -> Option<TypePtr> {
    let keep = |field: &TypePtr| match path {
        [last] if field.name() == last => None,
        [first, below @ ..] if field.name() == first => without(field, below),
        _ => Some(field.clone()),
    };
    let fields: Vec<TypePtr> = part.get_fields().iter().filter_map(keep).collect();
    if fields.is_empty() {
        return None;
    }
    let info = part.get_basic_info();
    let mut built = Type::group_type_builder(part.name())
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned())
        .with_fields(fields);
    if info.has_repetition() {
        built = built.with_repetition(info.repetition());
    }
    built.build().ok().map(Arc::new)
}

/// What is read of a row group beside its texts, row by row.
#[derive(Default)]
pub(super) struct Extra {
    numbers: Option<Numbers>,
    others: Option<ReaderIter>,
}

impl Extra {
    /// Appends one note a row, where there is anything to note.
    pub fn read(&mut self, rows: usize, notes: &mut Vec<Note>) -> Result<(), ParquetError> {
        if let Some(others) = &mut self.others {
            for row in others.take(rows) {
                if let serde_json::Value::Object(object) = row?.to_json_value() {
                    notes.push(Note::of(object));
                }
            }
        }
        if let Some(numbers) = &mut self.numbers {
            notes.resize_with(rows, Note::default);
            let read = match numbers {
                Numbers::Int(reader) => read(reader, rows, i64::from)?,
                Numbers::Long(reader) => read(reader, rows, |number| number)?,
            };
            notes.iter_mut().zip(read).for_each(|(note, number)| note.extra = number);
        }
        Ok(())
    }

    pub fn skip(&mut self, rows: usize) -> Result<(), ParquetError> {
        if let Some(others) = &mut self.others {
            others.take(rows).try_for_each(|row| row.map(drop))?;
        }
        match &mut self.numbers {
            Some(Numbers::Int(reader)) => reader.skip_records(rows).map(drop),
            Some(Numbers::Long(reader)) => reader.skip_records(rows).map(drop),
            None => Ok(()),
        }
    }
}

enum Numbers {
    Int(ColumnReaderImpl<Int32Type>),
    Long(ColumnReaderImpl<Int64Type>),
}

impl Numbers {
    fn new(reader: ColumnReader) -> Result<Self, ParquetError> {
        match reader {
            ColumnReader::Int32ColumnReader(reader) => Ok(Self::Int(reader)),
            ColumnReader::Int64ColumnReader(reader) => Ok(Self::Long(reader)),
            _ => Err(ParquetError::General("its columns changed while it was read".into())),
        }
    }
}

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    number: impl Fn(T::T) -> i64,
) -> Result<Vec<Option<i64>>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    let deepest = levels.iter().copied().max().unwrap_or(0);
    let all = values.len() == rows;
    let mut values = values.into_iter().map(number);
    let one = |row: usize| if all || levels.get(row) == Some(&deepest) { values.next() } else { None };
    Ok((0..rows).map(one).collect())
}

//! The folder of tags: what was found of all documents, joined from the parts or as an earlier run wrote it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::chain::Tally;
use super::output::TAGS;
use super::part::{self, Record};
use super::plan::{Job, AGAIN};
use crate::clean::record::{Clustered, Reader, Sketches, Tag, RECORDS, SCHEMA, SKETCHES};
use crate::error::{write_error, Error, Result};
use crate::files::{make_folder, read_json, sync_folder, to_json};

pub(super) const FORMAT: &str = "pylm-tags-1";

/// What the records are of: `tags.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Schema {
    pub format: String,
    pub documents: u32,
    pub record_bytes: usize,
    pub sketch_bytes: usize,
    /// Names of the measures of a record, in order.
    pub measures: Vec<String>,
    /// Names of the files, by number.
    pub sources: Vec<String>,
    /// What the last measures, which are probabilities of classifiers, were asked for.
    pub classifiers: Vec<Asked>,
    pub tests: Vec<Tested>,
    /// Pairs of documents that were compared.
    pub pairs_compared: u64,
    pub pairs_left: u64,
    pub tally: Tally,
}

/// A test whose items were looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tested {
    pub task: String,
    pub items: u32,
    pub items_with_a_gram: u32,
    pub items_found: u32,
}

/// A folder of tags that is whole.
pub(super) struct Tags {
    pub folder: PathBuf,
    pub schema: Schema,
}

impl Tags {
    /// Of a folder that is finished.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = folder.join(TAGS);
        let schema: Option<Schema> = read_json(&folder.join(SCHEMA), AGAIN)?;
        let schema = schema.ok_or_else(|| {
            Error::data(format!("{} has no {SCHEMA}", folder.display()))
                .hint("give a folder that pylm data clean wrote")
        })?;
        Ok(Self { folder, schema })
    }

    /// Joins the records and sketches of all parts in `folder`, and numbers the documents of each source. `amend` has
    /// the last word on a document's record.
    pub fn join(
        job: &Job,
        out: &Path,
        parts: &[Record],
        folder: PathBuf,
        schema: Schema,
        amend: &mut dyn FnMut(u32, &mut Tag) -> Result<()>,
    ) -> Result<Self> {
        make_folder(&folder)?;
        let records = folder.join(RECORDS);
        let mut to = create(&records)?;
        let mut numbers = vec![0u64; job.sources.len()];
        let (mut bytes, mut document) = (Vec::new(), 0);
        for (unit, part) in parts.iter().enumerate() {
            let mut tags = Reader::open(part::file(out, unit, part::TAGS), schema.measures.len())?;
            for _ in 0..part.documents {
                let tag = tags.take()?;
                let number = &mut numbers[tag.source as usize];
                tag.number = *number;
                *number += 1;
                amend(document, tag)?;
                document += 1;
                bytes.clear();
                tag.put(&mut bytes);
                to.write_all(&bytes).map_err(|error| write_error("write", &records, &error))?;
            }
        }
        finish(to, &records)?;
        let sketches = folder.join(SKETCHES);
        let mut to = create(&sketches)?;
        for unit in 0..parts.len() {
            let path = part::file(out, unit, part::SKETCH);
            let mut from = File::open(&path).map_err(|error| Error::io("read", &path, &error))?;
            std::io::copy(&mut from, &mut to).map_err(|error| write_error("write", &sketches, &error))?;
        }
        finish(to, &sketches)?;
        Ok(Self { folder, schema })
    }

    pub fn write(&self, clustered: &Clustered) -> Result<()> {
        for (name, bytes) in [(crate::clean::record::CLUSTERS, clustered.bytes()), (SCHEMA, to_json(&self.schema))] {
            let path = self.folder.join(name);
            let mut to = create(&path)?;
            to.write_all(&bytes).map_err(|error| write_error("write", &path, &error))?;
            finish(to, &path)?;
        }
        sync_folder(&self.folder)
    }

    /// The records from a document on.
    pub fn records_from(&self, document: u32) -> Result<Reader> {
        Reader::open_at(self.folder.join(RECORDS), self.schema.measures.len(), document)
    }

    /// Visits every document's number and what was found of it.
    pub fn each(&self, visit: &mut dyn FnMut(u32, &Tag) -> Result<()>) -> Result<()> {
        let mut records = self.records_from(0)?;
        (0..self.schema.documents).try_for_each(|document| visit(document, records.take()?))
    }

    pub fn sketches(&self) -> Sketches {
        let files = vec![(self.folder.join(SKETCHES), self.schema.documents)];
        Sketches { files, sketch_bytes: self.schema.sketch_bytes }
    }

    pub fn clustered(&self) -> Result<Clustered> {
        Clustered::read(&self.folder, self.schema.documents)
    }
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).map_err(|error| write_error("write", path, &error))?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

fn finish(to: BufWriter<File>, path: &Path) -> Result<()> {
    let done = to.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(|file| file.sync_all());
    done.map_err(|error| write_error("write", path, &error))
}

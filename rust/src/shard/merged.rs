//! Shards that are put together from what stands in files already.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::manifest::Shard;
use super::plan::{Dtype, Header};
use super::positioned_file::Tally;
use super::record::Half;
use super::writer::llmc_header;
use crate::error::{write_error, Error, Result};

/// A shard that is put together from files of ids and their indexes.
pub(super) struct Merged {
    header: Header,
    dtype: Dtype,
    paths: [PathBuf; 2],
    files: [BufWriter<File>; 2],
    tallies: [Tally; 2],
    pub tokens: u64,
    entries: u64,
}

impl Merged {
    /// Opens its files, under a name of their own in a folder for unfinished work.
    pub fn create(parts: &Path, name: &str, header: Header, dtype: Dtype) -> Result<Self> {
        let paths = [parts.join(format!("{name}.bin")), parts.join(format!("{name}.idx"))];
        let create = |path: &PathBuf| {
            File::create(path)
                .map(|file| BufWriter::with_capacity(1 << 20, file))
                .map_err(|error| write_error("write", path, &error))
        };
        let files = [create(&paths[0])?, create(&paths[1])?];
        let tallies = [Tally::new(), Tally::new()];
        let mut merged = Self { header, dtype, paths, files, tallies, tokens: 0, entries: 0 };
        if header == Header::Llmc {
            merged.files[0].write_all(&[0; 1024]).map_err(|error| write_error("write", &merged.paths[0], &error))?;
        }
        Ok(merged)
    }

    /// Adds the first `half.tokens` ids of a file and the documents among them. `goes_on`: its first document is the
    /// rest of the last one.
    pub fn append(&mut self, ids: &Path, base: u64, index: &Path, half: &Half, goes_on: bool) -> Result<()> {
        let mut left = half.tokens * self.dtype.size();
        let failed = |error: std::io::Error| Error::io("read", ids, &error);
        let mut source = File::open(ids).map_err(failed)?;
        source.seek(SeekFrom::Start(base)).map_err(failed)?;
        let mut buffer = vec![0; 1 << 20];
        while left > 0 {
            let wanted = left.min(buffer.len() as u64) as usize;
            source.read_exact(&mut buffer[..wanted]).map_err(failed)?;
            self.put(0, &buffer[..wanted])?;
            left -= wanted as u64;
        }
        let failed = |error: std::io::Error| Error::io("read", index, &error);
        let mut starts = BufReader::with_capacity(1 << 20, File::open(index).map_err(failed)?);
        let mut entry = [0; 8];
        for number in 0..half.entries {
            starts.read_exact(&mut entry).map_err(failed)?;
            let start = self.tokens + u64::from_le_bytes(entry);
            if number > 0 || !goes_on {
                self.put(1, &start.to_le_bytes())?;
                self.entries += 1;
            }
        }
        self.tokens += half.tokens;
        Ok(())
    }

    /// Adds a document: its ids, as they are stored.
    pub fn document(&mut self, ids: &[u8]) -> Result<()> {
        self.put(1, &self.tokens.to_le_bytes())?;
        self.entries += 1;
        self.tokens += ids.len() as u64 / self.dtype.size();
        self.put(0, ids)
    }

    fn put(&mut self, file: usize, bytes: &[u8]) -> Result<()> {
        self.tallies[file].append(bytes);
        self.files[file].write_all(bytes).map_err(|error| write_error("write", &self.paths[file], &error))
    }

    /// Moves the files to their places and says what they are, but for the name.
    pub fn finish(mut self, ids: &Path, index: &Path) -> Result<Shard> {
        self.put(1, &self.tokens.to_le_bytes())?;
        let [ids_file, index_file] = &mut self.files;
        let dtype = self.dtype;
        for (file, path) in [(ids_file, &self.paths[0]), (index_file, &self.paths[1])] {
            let sync = |file: &mut BufWriter<File>| -> std::io::Result<()> {
                file.flush()?;
                if path.ends_with(&self.paths[0]) && self.header == Header::Llmc {
                    file.get_mut().seek(SeekFrom::Start(0))?;
                    let header = llmc_header(dtype, self.tokens);
                    file.get_mut().write_all(&header.ok_or(std::io::ErrorKind::InvalidData)?)?;
                }
                file.get_mut().sync_all()
            };
            sync(file).map_err(|error| write_error("write", path, &error))?;
        }
        for (path, place) in self.paths.iter().zip([ids, index]) {
            std::fs::rename(path, place).map_err(|error| write_error("move", place, &error))?;
        }
        Ok(Shard {
            file: String::new(),
            tokens: self.tokens,
            documents: self.entries,
            starts_inside: false,
            bytes: self.header.bytes() + self.tokens * dtype.size(),
            hash: self.tallies[0].digest(),
            index_bytes: self.tallies[1].length,
            index_hash: self.tallies[1].digest(),
        })
    }
}

//! The files of a folder of cleaned text.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{write_error, Result};

pub(super) const REPORT: &str = "report.json";
pub(super) const SHOWN: &str = "report.html";
pub(super) const TAGS: &str = "tags";
/// Of zstd: what most use, and fast.
const LEVEL: i32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Removed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Removed => "removed",
        }
    }

    pub fn file(self, number: usize, compress: bool) -> String {
        format!("{}_{number:05}.jsonl{}", self.name(), if compress { ".zst" } else { "" })
    }
}

/// Whether a name is one of text or of what was removed.
pub(super) fn is_output(name: &str) -> bool {
    let rest = [Kind::Text, Kind::Removed].iter().find_map(|kind| name.strip_prefix(kind.name())?.strip_prefix('_'));
    let number = rest.and_then(|rest| rest.strip_suffix(".jsonl").or_else(|| rest.strip_suffix(".jsonl.zst")));
    number.is_some_and(|number| number.len() >= 5 && number.bytes().all(|digit| digit.is_ascii_digit()))
}

/// A file of lines that gets its name once it is whole, and goes where it does not come to that.
pub(super) struct Lines {
    path: PathBuf,
    temporary: PathBuf,
    to: Option<To>,
}

enum To {
    Plain(BufWriter<File>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Lines {
    pub fn create(path: PathBuf, compress: bool) -> Result<Self> {
        let temporary = path.with_extension(format!("tmp{}", crate::unique::suffix()));
        let create = || -> std::io::Result<To> {
            let to = BufWriter::with_capacity(1 << 20, File::create_new(&temporary)?);
            if !compress {
                return Ok(To::Plain(to));
            }
            let mut encoder = zstd::Encoder::new(to, LEVEL)?;
            encoder.include_checksum(true)?;
            Ok(To::Zstd(encoder))
        };
        let to = Some(create().map_err(|error| write_error("write", &path, &error))?);
        Ok(Self { path, temporary, to })
    }

    pub fn write(&mut self, line: &[u8]) -> Result<()> {
        let written = match &mut self.to {
            Some(To::Plain(to)) => to.write_all(line),
            Some(To::Zstd(to)) => to.write_all(line),
            None => Ok(()),
        };
        written.map_err(|error| write_error("write", &self.path, &error))
    }

    pub fn finish(mut self) -> Result<()> {
        let finish = |to: Option<To>| -> std::io::Result<()> {
            let to = match to {
                Some(To::Plain(to)) => to,
                Some(To::Zstd(to)) => to.finish()?,
                None => return Ok(()),
            };
            to.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&self.temporary, &self.path)
        };
        finish(self.to.take()).map_err(|error| write_error("write", &self.path, &error))
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // where it is finished there is none
        let _ = fs::remove_file(&self.temporary);
    }
}

/// The sha256 of a file and its size.
pub(super) fn sha256(path: &Path) -> Result<(String, u64)> {
    let mut hash = Sha256::new();
    let read = |error| crate::Error::io("read", path, &error);
    let mut file = File::open(path).map_err(read)?;
    let size = std::io::copy(&mut file, &mut hash).map_err(read)?;
    let mut hex = String::new();
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok((hex, size))
}

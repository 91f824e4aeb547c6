//! SOURCE… → files in a fixed order.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::Options;
use crate::error::{Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Jsonl,
    Parquet,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A file to read, and what tells it from an edited one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As the user would name it; `-` for stdin.
    pub name: String,
    pub size: u64,
    /// Nanoseconds; 0 for stdin, whose copy is made anew each time.
    pub mtime: i64,
    /// XXH3-128 of the size and of three samples of 64 KiB.
    pub fingerprint: String,
    pub format: Format,
    pub compression: Compression,
    #[serde(skip)]
    pub path: PathBuf,
}

impl SourceFile {
    /// Whether any range of the file can be read without what comes before it.
    pub fn ranged(&self) -> bool {
        self.compression == Compression::None && self.format != Format::Parquet
    }
}

/// The resolved sources and how to read them. Cheap to share.
#[derive(Clone)]
pub struct Input {
    pub files: Arc<Vec<SourceFile>>,
    /// Names of files that the sources name more than once.
    pub repeated: Arc<Vec<String>>,
    pub options: Arc<Options>,
}

impl Input {
    /// Files in the order of the arguments, folders and globs in sorted order; a file named twice is read once.
    pub fn resolve(sources: &[String], options: Options) -> Result<Self> {
        if sources.is_empty() {
            return Err(Error::usage("no source was given").hint("name a file, a folder, a glob, or - for stdin"));
        }
        let mut paths: Vec<(PathBuf, String)> = Vec::new();
        for source in sources {
            if source == "-" {
                let Some(spool) = &options.stdin else {
                    return Err(Error::usage("stdin was not spooled").hint("save it to a file first and name the file"));
                };
                paths.push((spool.clone(), "-".into()));
            } else {
                paths.extend(expand(source)?.into_iter().map(|path| {
                    let name = path.display().to_string();
                    (path, name)
                }));
            }
        }
        let mut seen = std::collections::HashSet::new();
        let (mut files, mut repeated) = (Vec::with_capacity(paths.len()), Vec::new());
        for (path, name) in paths {
            options.check()?;
            // `./a.txt` is `a.txt`
            let plain: PathBuf = path.components().filter(|part| !matches!(part, Component::CurDir)).collect();
            if seen.insert(plain) {
                files.push(inspect(path, name, &options)?);
            } else if !repeated.contains(&name) {
                repeated.push(name);
            }
        }
        let has = |format| files.iter().any(|file: &SourceFile| file.format == format);
        let plain = Options::default();
        for (option, named, usual, kind, there) in [
            ("--field", &options.field, &plain.field, "jsonl", has(Format::Jsonl)),
            ("--column", &options.column, &plain.column, "parquet", has(Format::Parquet)),
        ] {
            if named != usual && !there {
                return Err(Error::usage(format!("{option} {named} is for {kind}, and no source is {kind}"))
                    .hint(format!("leave out {option}, or name a {kind} file")));
            }
        }
        let (files, repeated) = (Arc::new(files), Arc::new(repeated));
        Ok(Self { files, repeated, options: Arc::new(options) })
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Fails where a file has another size or time than when it was resolved.
    pub fn check_unchanged(&self) -> Result<()> {
        for file in self.files.iter().filter(|file| file.name != "-") {
            let metadata = std::fs::metadata(&file.path).map_err(|error| Error::io("read", &file.path, &error))?;
            if metadata.len() != file.size || mtime(&metadata) != file.mtime {
                return Err(Error::data(format!("{} was changed while it was read", file.name))
                    .hint("run again with --force once it stays as it is"));
            }
        }
        Ok(())
    }
}

/// What a walked folder offers; a file that is named outright may have any suffix.
const TEXT_SUFFIXES: [&str; 3] = ["txt", "text", "md"];

fn classify(path: &Path) -> Option<(Format, Compression)> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let (stem, compression) = match name.rsplit_once('.') {
        Some((stem, "gz")) => (stem.to_string(), Compression::Gzip),
        Some((stem, "zst" | "zstd")) => (stem.to_string(), Compression::Zstd),
        _ => (name, Compression::None),
    };
    let suffix = stem.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let format = match suffix {
        "jsonl" | "ndjson" => Format::Jsonl,
        "parquet" => Format::Parquet,
        text if TEXT_SUFFIXES.contains(&text) => Format::Text,
        _ if compression != Compression::None => Format::Text,
        _ => return None,
    };
    Some((format, compression))
}

fn expand(source: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(source);
    if path.is_dir() {
        let mut found = Vec::new();
        walk(path, &mut found)?;
        if found.is_empty() {
            return Err(Error::data(format!("{source} holds no txt, md, jsonl or parquet file")).hint(format!(
                "for files of another suffix give a glob, e.g. '{}/**/*.py'",
                source.trim_end_matches('/')
            )));
        }
        return Ok(found);
    }
    if path.exists() {
        return Ok(vec![path.to_path_buf()]);
    }
    if source.contains(['*', '?', '[']) {
        let pattern = glob::glob(source).map_err(|error| {
            Error::usage(format!("{source} is not a glob: {}", error.msg)).hint("quote literal brackets as [[]")
        })?;
        let mut found = Vec::new();
        for entry in pattern {
            let entry = entry.map_err(|error| Error::io("read", error.path(), error.error()))?;
            if entry.is_file() {
                found.push(entry);
            }
        }
        found.sort();
        if found.is_empty() {
            return Err(Error::data(format!("no file matches {source}")).hint("check the pattern; ** crosses folders"));
        }
        return Ok(found);
    }
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let reason = std::fs::metadata(path).err().unwrap_or(missing);
    Err(Error::io("read", path, &reason).hint("check the path; a source is a file, a folder, a glob, or - for stdin"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io("read", folder, &error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read", folder, &error))?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.is_symlink() {
            walk(&path, found)?;
        } else if path.is_file() && classify(&path).is_some() {
            found.push(path);
        }
    }
    Ok(())
}

fn mtime(metadata: &std::fs::Metadata) -> i64 {
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}

fn inspect(path: PathBuf, name: String, options: &Options) -> Result<SourceFile> {
    let stdin = name == "-";
    let read = |error| Error::io("read", &path, &error);
    let mut file = File::open(&path).map_err(read)?;
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(
            Error::data(format!("{name} is not a regular file")).hint("pipe it in instead and give - as the source")
        );
    }
    let (mut format, mut compression) = classify(&path).unwrap_or((Format::Text, Compression::None));
    if stdin {
        let mut magic = [0u8; 4];
        let filled = file.read(&mut magic).map_err(read)?;
        compression = match &magic[..filled] {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
            _ => Compression::None,
        };
        format = match &magic[..filled] {
            b"PAR1" => Format::Parquet,
            _ if options.stdin_jsonl => Format::Jsonl,
            _ => Format::Text,
        };
    }
    if format == Format::Parquet && compression != Compression::None {
        return Err(Error::data(format!("{name}: a compressed parquet file cannot be read by ranges"))
            .hint("decompress it first; parquet compresses its own columns"));
    }
    let size = metadata.len();
    let fingerprint = fingerprint(&file, size).map_err(read)?;
    let mtime = if stdin { 0 } else { mtime(&metadata) };
    Ok(SourceFile { name, size, mtime, fingerprint, format, compression, path })
}

fn fingerprint(file: &File, size: u64) -> std::io::Result<String> {
    const SAMPLE: u64 = 64 << 10;
    let mut hash = Xxh3::new();
    hash.update(&size.to_le_bytes());
    let mut buffer = vec![0u8; SAMPLE as usize];
    for start in [0, (size / 2).saturating_sub(SAMPLE / 2), size.saturating_sub(SAMPLE)] {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], start + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        hash.update(&buffer[..filled]);
        if size <= SAMPLE {
            break;
        }
    }
    Ok(format!("{:032x}", hash.digest128()))
}

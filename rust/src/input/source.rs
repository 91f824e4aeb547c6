//! SOURCE… → files in a fixed order.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::expand::{classify, expand};
use super::{magic, Options, Place, Remote, Source};
use crate::error::{shown, Error, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Jsonl,
    Parquet,
    /// One array of objects, or lines of them.
    Json,
    /// Comma or tab separated.
    Csv,
    /// Web archives: WET files.
    Warc,
    Tar,
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
    /// Nanoseconds; 0 for stdin, whose copy is made anew each time, and for what lies elsewhere.
    pub mtime: i64,
    /// XXH3-128 of the size and of three samples of `SAMPLE` bytes; the identity of what lies elsewhere.
    pub fingerprint: String,
    pub format: Format,
    pub compression: Compression,
    #[serde(skip)]
    pub place: Place,
}

impl SourceFile {
    /// Whether any range of the file can be read without what comes before it, as of a mapped one.
    pub fn ranged(&self) -> bool {
        self.compression == Compression::None
            && matches!(self.format, Format::Text | Format::Jsonl)
            && matches!(self.place, Place::Here(_))
    }

    /// Whether its bytes are its text, or the lines around it.
    pub fn is_plain(&self) -> bool {
        self.compression == Compression::None && self.format != Format::Parquet
    }

    pub(super) fn remote_parquet(&self) -> Option<&Remote> {
        match &self.place {
            Place::Elsewhere(remote) if self.format == Format::Parquet => Some(remote),
            _ => None,
        }
    }

    /// Whether the two differ in nothing but, perhaps, their time.
    fn same_but_for_time(&self, other: &Self) -> bool {
        *self == Self { mtime: self.mtime, ..other.clone() }
    }

    /// The first thing in which the sources of a folder's job differ from ours, in words.
    pub fn difference(ours: &[Self], theirs: &[Self]) -> Option<String> {
        if !ours.iter().map(|file| &file.name).eq(theirs.iter().map(|file| &file.name)) {
            let first = theirs.first().map_or("nothing", |file| file.name.as_str());
            return Some(match theirs.len() {
                0 | 1 => format!("from other sources ({first})"),
                count => format!("from other sources ({first} and {} more)", count - 1),
            });
        }
        for (ours, theirs) in ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs) {
            if !ours.same_but_for_time(theirs) {
                return Some(format!("from an older {}", ours.name));
            }
            if !ours.fingerprint_is_whole() {
                return Some(format!("from {}, whose time has changed since", ours.name));
            }
        }
        None
    }

    /// Whether the fingerprint is of every byte of the file: only then does it say that nothing was edited.
    fn fingerprint_is_whole(&self) -> bool {
        self.size <= 3 * SAMPLE
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
    pub fn resolve(sources: &[impl AsRef<OsStr>], options: Options) -> Result<Self> {
        Self::of(&Source::named(sources), options)
    }

    /// The same of sources some of which may lie elsewhere.
    pub fn of(sources: &[Source], options: Options) -> Result<Self> {
        let (places, _) = places(sources, &options)?;
        let mut seen = std::collections::HashSet::new();
        let (mut files, mut repeated) = (Vec::with_capacity(places.len()), Vec::new());
        for (place, name) in places {
            options.check()?;
            let plain: PathBuf = match &place {
                // `./a.txt` is `a.txt`
                Place::Here(path) => path.components().filter(|part| !matches!(part, Component::CurDir)).collect(),
                Place::Elsewhere(remote) => format!("{}\0{}", remote.name, remote.identity).into(),
            };
            if seen.insert(plain) {
                files.push(inspect(place, name, &options)?);
            } else if !repeated.contains(&name) {
                repeated.push(name);
            }
        }
        // an archive may hold anything
        let has = |formats: [Format; 3]| files.iter().any(|file: &SourceFile| formats.contains(&file.format));
        let plain = Options::default();
        for (option, named, usual, kind, there) in [
            ("--field", &options.field, &plain.field, "jsonl", has([Format::Jsonl, Format::Json, Format::Tar])),
            ("--column", &options.column, &plain.column, "parquet", has([Format::Parquet, Format::Csv, Format::Tar])),
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
            let Place::Here(path) = &file.place else { continue };
            let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
            // a copy of what lies elsewhere has no time: it goes by its content
            if metadata.len() != file.size || (file.mtime != 0 && mtime(&metadata) != file.mtime) {
                return Err(Error::data(format!("{} was changed while it was read", file.name))
                    .hint("run again with --force once it stays as it is"));
            }
        }
        Ok(())
    }
}

/// How much there is, before anything is read through, and what may surprise of it.
#[derive(Debug, Default)]
pub struct Look {
    pub files: usize,
    /// About how many bytes of text: compressed files count three times.
    pub bytes: u64,
    pub remarks: Vec<String>,
}

/// Remarks on single files: the others are counted.
const LISTED: usize = 5;

/// Looks at the beginning of every source; what cannot be read as text is refused here.
pub fn look(sources: &[Source], options: &Options) -> Result<Look> {
    let (places, mut remarks) = places(sources, options)?;
    let mut look = Look { files: places.len(), ..Look::default() };
    let mut more = 0;
    for (place, name) in &places {
        let path = match place {
            Place::Here(path) => path,
            Place::Elsewhere(remote) => {
                let (format, compression) = kind(&remote.path);
                let plain = compression == Compression::None && format != Format::Parquet;
                look.bytes += remote.size * if plain { 1 } else { 3 };
                continue;
            }
        };
        let opened = Opened::open(path, name, options)?;
        let ranged = opened.compression == Compression::None && opened.format != Format::Parquet;
        look.bytes += opened.size * if ranged { 1 } else { 3 };
        let remark = if name == "-" || !ranged { None } else { magic::remark(path, &opened.head) };
        if let Some(remark) = remark {
            if remarks.len() < LISTED {
                remarks.push(remark);
            } else {
                more += 1;
            }
        }
    }
    if more > 0 {
        remarks.push(format!("and so of {more} more files"));
    }
    look.remarks = remarks;
    Ok(look)
}

/// Where a file lies and what it is called.
type Named = (Place, String);

/// The files that sources stand for with their names, and remarks on what is left out.
fn places(sources: &[Source], options: &Options) -> Result<(Vec<Named>, Vec<String>)> {
    if sources.is_empty() {
        return Err(Error::usage("no source was given").hint("name a file, a folder, a glob, or - for stdin"));
    }
    let (mut places, mut remarks) = (Vec::new(), Vec::new());
    for source in sources {
        let source = match source {
            Source::Named(source) => source,
            Source::Elsewhere(remote) => {
                places.push((Place::Elsewhere(remote.clone()), remote.name.clone()));
                continue;
            }
        };
        if source == "-" {
            let Some(spool) = &options.stdin else {
                return Err(Error::usage("stdin was not spooled").hint("save it to a file first and name the file"));
            };
            places.push((Place::Here(spool.clone()), "-".into()));
        } else {
            let (found, remark) = expand(source)?;
            remarks.extend(remark);
            places.extend(found.into_iter().map(|path| {
                let name = shown(&path);
                (Place::Here(path), name)
            }));
        }
    }
    Ok((places, remarks))
}

/// What a file holds by its name.
fn kind(path: &Path) -> (Format, Compression) {
    classify(path).unwrap_or((Format::Text, Compression::None))
}

fn mtime(metadata: &std::fs::Metadata) -> i64 {
    metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()
}

/// A file that was opened, and what it is.
struct Opened {
    file: File,
    metadata: Metadata,
    size: u64,
    head: Vec<u8>,
    format: Format,
    compression: Compression,
}

impl Opened {
    fn open(path: &Path, name: &str, options: &Options) -> Result<Self> {
        let stdin = name == "-";
        let read = |error| Error::io("read", path, &error);
        let mut file = File::open(path).map_err(read)?;
        let metadata = file.metadata().map_err(read)?;
        if !metadata.is_file() {
            return Err(Error::data(format!("{name} is not a regular file"))
                .hint("pipe it in instead and give - as the source"));
        }
        let mut head = Vec::with_capacity(magic::HEAD);
        file.by_ref().take(magic::HEAD as u64).read_to_end(&mut head).map_err(read)?;
        let (mut format, mut compression) = kind(path);
        if stdin {
            compression = match &head[..] {
                [0x1f, 0x8b, ..] => Compression::Gzip,
                [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
                _ => Compression::None,
            };
            format = match &head[..] {
                [b'P', b'A', b'R', b'1', ..] => Format::Parquet,
                _ if options.stdin_jsonl => Format::Jsonl,
                _ => Format::Text,
            };
        }
        check_ranges(name, format, compression)?;
        magic::check(if stdin { Path::new("stdin") } else { path }, format, compression, &head).map_err(|error| {
            if stdin {
                error.hint("pipe text in, jsonl or parquet; gzip and zstd are unpacked")
            } else {
                error
            }
        })?;
        Ok(Self { size: metadata.len(), file, metadata, head, format, compression })
    }
}

fn check_ranges(name: &str, format: Format, compression: Compression) -> Result<()> {
    if format == Format::Parquet && compression != Compression::None {
        return Err(Error::data(format!("{name}: a compressed parquet file cannot be read by ranges"))
            .hint("decompress it first; parquet compresses its own columns"));
    }
    Ok(())
}

fn inspect(place: Place, name: String, options: &Options) -> Result<SourceFile> {
    let path = match place {
        Place::Here(path) => path,
        // what its beginning holds is seen when it is read: no request is spent on that
        Place::Elsewhere(remote) => {
            let (format, compression) = kind(&remote.path);
            check_ranges(&name, format, compression)?;
            let (size, fingerprint) = (remote.size, remote.identity.clone());
            let place = remote.copy.clone().map_or(Place::Elsewhere(remote), Place::Here);
            return Ok(SourceFile { name, size, mtime: 0, fingerprint, format, compression, place });
        }
    };
    let Opened { file, metadata, size, format, compression, .. } = Opened::open(&path, &name, options)?;
    let fingerprint = fingerprint(&file, size).map_err(|error| Error::io("read", &path, &error))?;
    let mtime = if name == "-" { 0 } else { mtime(&metadata) };
    Ok(SourceFile { name, size, mtime, fingerprint, format, compression, place: Place::Here(path) })
}

/// Bytes at the beginning, in the middle and at the end that a fingerprint is made of.
const SAMPLE: u64 = 64 << 10;

fn fingerprint(file: &File, size: u64) -> std::io::Result<String> {
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

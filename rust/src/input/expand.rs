//! What a SOURCE stands for: one file, the texts of a folder, what a glob matches.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::{Compression, Format};
use crate::error::{quoted, shown, Error, Result};

/// What a walked folder offers; a file that is named outright may have any suffix.
const TEXT_SUFFIXES: [&str; 3] = ["txt", "text", "md"];

pub(super) fn classify(path: &Path) -> Option<(Format, Compression)> {
    let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
    let (stem, compression) = match name.rsplit_once('.') {
        Some((stem, "gz")) => (stem.to_string(), Compression::Gzip),
        Some((stem, "zst" | "zstd")) => (stem.to_string(), Compression::Zstd),
        Some((stem, "tgz")) => (format!("{stem}.tar"), Compression::Gzip),
        Some((stem, "tzst")) => (format!("{stem}.tar"), Compression::Zstd),
        _ => (name, Compression::None),
    };
    let suffix = stem.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    let format = match suffix {
        "jsonl" | "ndjson" => Format::Jsonl,
        "parquet" => Format::Parquet,
        "json" => Format::Json,
        "csv" | "tsv" => Format::Csv,
        "wet" | "warc" => Format::Warc,
        "tar" => Format::Tar,
        text if TEXT_SUFFIXES.contains(&text) => Format::Text,
        _ if compression != Compression::None => Format::Text,
        _ => return None,
    };
    Some((format, compression))
}

/// Whether a file of that kind lies beside texts as often as it holds some: settings, lists of names.
fn beside(kind: (Format, Compression)) -> bool {
    matches!(kind, (Format::Json | Format::Csv, Compression::None))
}

/// The files of a source in a fixed order, and a remark on what of a folder is not among them.
pub(super) fn expand(source: &OsStr) -> Result<(Vec<PathBuf>, Option<String>)> {
    let path = Path::new(source);
    let name = shown(path);
    if path.is_dir() {
        let (mut found, mut left) = (Vec::new(), Left::default());
        walk(path, &mut found, &mut left)?;
        if found.is_empty() {
            let suffix = left.suffixes.iter().max_by_key(|(_, &count)| count).map_or("py", |(suffix, _)| suffix);
            let glob = quoted(&format!("{}/**/*.{suffix}", name.trim_end_matches('/')));
            let there = left.remark(&name).map_or(String::new(), |_| format!(": {}", left.listed()));
            return Err(Error::data(format!("{name} holds no txt, md, jsonl or parquet file{there}"))
                .hint(format!("for files of another suffix give a glob, e.g. {glob}")));
        }
        return Ok((found, left.remark(&name)));
    }
    if path.exists() {
        return Ok((vec![path.to_path_buf()], None));
    }
    let pattern = source.to_string_lossy();
    if pattern.contains(['*', '?', '[']) {
        let found = matches(&pattern)?;
        if found.is_empty() {
            return Err(Error::data(format!("no file matches {name}")).hint("check the pattern; ** crosses folders"));
        }
        return Ok((found, None));
    }
    let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
    let reason = std::fs::metadata(path).err().unwrap_or(missing);
    let hint = if path.is_symlink() {
        "it is a link to what is not there: name another, or remove it"
    } else {
        "check the path; a source is a file, a folder, a glob, or - for stdin"
    };
    Err(Error::io("read", path, &reason).hint(hint))
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    let paths = glob::glob(pattern).map_err(|error| {
        Error::usage(format!("{pattern} is not a glob: {}", error.msg)).hint("quote literal brackets as [[]")
    })?;
    let mut found = Vec::new();
    for entry in paths {
        let entry = entry.map_err(|error| Error::io("read", error.path(), error.error()))?;
        if entry.is_file() {
            found.push(entry);
        }
    }
    // glob leaves names out that are no UTF-8
    let start = if pattern.starts_with('/') { "/" } else { "" };
    let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    unnamed(Path::new(start), &parts, &mut found);
    // the crate's own option takes `.h*` for hidden too, and panics at names that are no UTF-8
    found.retain(|path| {
        let names = path.components().filter(|part| !matches!(part, Component::CurDir | Component::RootDir));
        let names: Vec<_> = names.map(|name| name.as_os_str().to_string_lossy()).collect();
        is_shown(&names, &parts)
    });
    found.sort();
    found.dedup();
    Ok(found)
}

/// Whether a path matches without any of `*`, `?` and `[` standing for a dot that a name begins with, as in a shell.
fn is_shown(names: &[Cow<'_, str>], parts: &[&str]) -> bool {
    let Some((part, rest)) = parts.split_first() else { return names.is_empty() };
    if *part == "**" && is_shown(names, rest) {
        return true;
    }
    let Some((name, below)) = names.split_first() else { return false };
    if name.starts_with('.') && !part.starts_with('.') {
        return false;
    }
    if *part == "**" {
        return is_shown(below, parts);
    }
    glob::Pattern::new(part).is_ok_and(|pattern| pattern.matches(name)) && is_shown(below, rest)
}

/// Files below `folder` that match, and whose path is no UTF-8; unreadable bytes stand for any character.
fn unnamed(folder: &Path, parts: &[&str], found: &mut Vec<PathBuf>) {
    let Some((part, rest)) = parts.split_first() else {
        if folder.to_str().is_none() && folder.is_file() {
            found.push(folder.into());
        }
        return;
    };
    if *part == "**" {
        unnamed(folder, rest, found);
    } else if !part.contains(['*', '?', '[']) && !part.contains(char::REPLACEMENT_CHARACTER) {
        return unnamed(&folder.join(part), rest, found);
    }
    let Ok(pattern) = glob::Pattern::new(part) else { return };
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    for entry in std::fs::read_dir(here).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let path = folder.join(&name);
        if *part == "**" {
            if path.is_dir() && !path.is_symlink() {
                unnamed(&path, parts, found);
            }
        } else if pattern.matches(&name.to_string_lossy()) {
            unnamed(&path, rest, found);
        }
    }
}

/// Files by suffix, in words.
pub(super) fn listed(suffixes: &BTreeMap<String, u64>) -> String {
    listed_parts(suffixes).join(", ")
}

fn listed_parts(suffixes: &BTreeMap<String, u64>) -> Vec<String> {
    let files = suffixes.iter().map(|(suffix, number)| {
        if suffix.is_empty() {
            format!("{number} without a suffix")
        } else {
            format!("{number} .{suffix}")
        }
    });
    let mut files: Vec<String> = files.collect();
    if files.len() > 6 {
        let more: u64 = suffixes.values().skip(6).sum();
        files.truncate(6);
        files.push(format!("{more} of other suffixes"));
    }
    files
}

/// What a folder holds beside its texts.
#[derive(Default)]
struct Left {
    /// Files by suffix.
    suffixes: BTreeMap<String, u64>,
    /// Links to nothing.
    broken: u64,
    /// Links to folders, which are not followed.
    folders: u64,
    /// Pipes, sockets and devices.
    special: u64,
}

impl Left {
    fn listed(&self) -> String {
        let files = listed_parts(&self.suffixes);
        let links = [
            (self.broken, "link to nothing", "links to nothing"),
            (self.folders, "link to a folder", "links to folders"),
            (self.special, "pipe or device", "pipes or devices"),
        ];
        let links = links.into_iter().filter(|(count, ..)| *count > 0);
        let links = links.map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }));
        files.into_iter().chain(links).collect::<Vec<_>>().join(", ")
    }

    fn remark(&self, folder: &str) -> Option<String> {
        let listed = self.listed();
        (!listed.is_empty()).then(|| format!("{folder} also holds what is not read: {listed}"))
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>, left: &mut Left) -> Result<()> {
    if let Some(texts) = super::cleaned::texts_of(folder)? {
        found.extend(texts);
        return Ok(());
    }
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
        if path.is_dir() {
            if path.is_symlink() {
                left.folders += 1;
            } else {
                walk(&path, found, left)?;
            }
        } else if path.is_file() {
            if classify(&path).is_some_and(|kind| !beside(kind)) {
                found.push(path);
            } else {
                let suffix = path.extension().map(|suffix| suffix.to_string_lossy().to_ascii_lowercase());
                *left.suffixes.entry(suffix.unwrap_or_default()).or_default() += 1;
            }
        } else if path.is_symlink() {
            left.broken += 1;
        } else {
            left.special += 1;
        }
    }
    Ok(())
}

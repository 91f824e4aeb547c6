//! Lines of JSON → documents.

use super::field::{self, Held};
use super::magic::after_mark;
use super::members::at;
use super::note::Note;
use super::surrogates::whole_surrogates;
use super::{Invalid, Options, Segment, Skipped, SourceFile, Validation};
use crate::error::{quoted, Error, Result};

/// What the lines held.
#[derive(Default)]
pub(super) struct Found {
    pub bytes: Vec<u8>,
    pub segments: Vec<Segment>,
    pub skipped: Vec<Skipped>,
    /// Bytes that were no UTF-8 and became U+FFFD.
    pub replaced: u64,
    /// Lines whose text is null.
    pub nulls: u64,
    /// What lies beside each text, where it was asked for.
    pub notes: Vec<Note>,
}

/// Where the lines come from, for what is said about a broken one.
pub(super) struct Origin<'a> {
    pub file: &'a SourceFile,
    /// Bytes before these lines in the file, or in what was decompressed of it.
    pub position: u64,
    /// Lines before these, where the reader has counted them.
    pub line: Option<u64>,
}

/// The lines of a text with how many come before each, and where each begins.
pub(super) fn lines(text: &[u8], position: u64) -> impl Iterator<Item = (usize, usize, &[u8])> {
    let mut start = text.len() - after_mark(text, position).len();
    memchr::memchr_iter(b'\n', text).chain([text.len()]).enumerate().map(move |(number, newline)| {
        let line = (number, start, &text[start..newline.max(start)]);
        start = newline + 1;
        line
    })
}

/// The documents of `lines`, which are lines or elements of `text`.
pub(super) fn documents<'a>(
    text: &'a [u8],
    lines: impl Iterator<Item = (usize, usize, &'a [u8])>,
    origin: &Origin<'_>,
    options: &Options,
    validation: Validation,
) -> Result<Found> {
    let Found { mut bytes, mut segments, mut skipped, mut replaced, mut nulls, mut notes } = Found::default();
    bytes.reserve(text.len());
    let valid = simdutf8::basic::from_utf8(text).is_ok();
    for (number, start, line) in lines {
        if !line.trim_ascii().is_empty() {
            let from = bytes.len();
            let read = if valid || options.invalid == Invalid::Error {
                field::append(line, &options.field, &mut bytes)
            } else {
                replaced += line.utf8_chunks().map(|chunk| chunk.invalid().len() as u64).sum::<u64>();
                field::append(String::from_utf8_lossy(line).as_bytes(), &options.field, &mut bytes)
            };
            let read = match read {
                // JSON can spell half of a pair of surrogates, which is no character
                Err(error) if options.invalid == Invalid::Replace => {
                    let lossy = String::from_utf8_lossy(line);
                    match whole_surrogates(lossy.as_bytes()) {
                        Some((mended, bytes_mended)) => {
                            bytes.truncate(from);
                            replaced += bytes_mended;
                            field::append(&mended, &options.field, &mut bytes)
                        }
                        None => Err(error),
                    }
                }
                read => read,
            };
            match read {
                Ok(Held::Text) if bytes.len() > from => {
                    let side = validation.side(&bytes[from..]);
                    segments.push(Segment { range: from..bytes.len(), ends: true, side });
                    if options.meta || options.extra.is_some() {
                        notes.push(Note::of_line(line, options));
                    }
                }
                Ok(Held::Null) => nulls += 1,
                Ok(_) => {}
                Err(error) => {
                    bytes.truncate(from);
                    let column = error.column().saturating_sub(1);
                    // where the first line lacks the field, the others do too: leaving such lines out would leave
                    // nothing
                    let first = origin.position == 0 && segments.is_empty() && skipped.is_empty();
                    let advice = hint(&error, line, &options.field, first);
                    let broken = Skipped {
                        file: origin.file.name.clone(),
                        line: lines_before(origin)? + number as u64 + 1,
                        byte: origin.position + (start + column) as u64,
                        why: reason(&error, line, &options.field),
                    };
                    if !options.skip_bad {
                        let Skipped { file, line, byte, why } = broken;
                        return Err(Error::data(format!("{file}: line {line}, byte {byte}: {why}")).hint(advice));
                    }
                    skipped.push(broken);
                }
            }
        }
    }
    Ok(Found { bytes, segments, skipped, replaced, nulls, notes })
}

fn hint(error: &serde_json::Error, line: &[u8], field: &str, first: bool) -> String {
    if !error.is_data() {
        return "mend the line, or leave such lines out with --skip-bad".into();
    }
    let skip = if first && lacks(line, field) { "" } else { "or leave such lines out with --skip-bad" };
    let or = |separator: &str| if skip.is_empty() { String::new() } else { format!("{separator} {skip}") };
    if conversation(line).is_some() {
        return format!(
            "pylm finetune learns conversations; to train on plain text, write the text of each under {field:?}{}",
            or(",")
        );
    }
    if let Some(key) = field::nearest(line, field) {
        return format!("it has {key:?}: --field {}{}", quoted(&key), or(";"));
    }
    match likely_key(line) {
        Some(key) if key != field => {
            format!("its longest text is under {key:?}: --field {}{}", quoted(&key), or(";"))
        }
        _ => format!("no key of it holds text: write the text under {field:?}{}", or(",")),
    }
}

/// Whether the line holds nothing, not even what is no text, under `field`.
fn lacks(line: &[u8], field: &str) -> bool {
    serde_json::from_slice::<serde_json::Value>(line)
        .is_ok_and(|value| value.as_object().is_none_or(|object| at(object, field).is_none()))
}

/// The key of the messages, where the line is a conversation.
fn conversation(line: &[u8]) -> Option<&'static str> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    ["messages", "conversations"].into_iter().find(|&key| value.get(key).is_some_and(serde_json::Value::is_array))
}

/// The key of the longest text of an object.
fn likely_key(line: &[u8]) -> Option<String> {
    field::texts(line).into_iter().max_by_key(|(_, length)| *length).map(|(key, _)| key)
}

fn reason(error: &serde_json::Error, line: &[u8], field: &str) -> String {
    if !error.is_data() && std::str::from_utf8(line).is_err() {
        return "the line is not UTF-8 (--invalid replace puts U+FFFD there)".into();
    }
    if !error.is_data() && whole_surrogates(line).is_some() {
        return "\\u spells half of a character, a lone surrogate (--invalid replace puts U+FFFD there)".into();
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if error.is_data() {
        let held = conversation(line).map(|key| format!(": it holds a conversation, under {key:?}"));
        format!("{text}{}", held.unwrap_or_default())
    } else {
        format!("broken JSON before a {field:?} could be read: {text}")
    }
}

/// Only a broken line pays for counting the lines before it.
fn lines_before(origin: &Origin<'_>) -> Result<u64> {
    if let Some(line) = origin.line {
        return Ok(line);
    }
    let map = super::Mapping::open(origin.file)?;
    let end = (origin.position as usize).min(map.len());
    let mut lines = 0;
    for start in (0..end).step_by(8 << 20) {
        let range = start..(start + (8 << 20)).min(end);
        lines += memchr::memchr_iter(b'\n', &map[range.clone()]).count() as u64;
        map.release(range);
    }
    Ok(lines)
}

//! Lines of JSON → documents.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::{Invalid, Options, Segment, Skipped, SourceFile, Validation};
use crate::error::{Error, Result};

/// What the lines held.
#[derive(Default)]
pub(super) struct Found {
    pub bytes: Vec<u8>,
    pub segments: Vec<Segment>,
    pub skipped: Vec<Skipped>,
    /// Bytes that were no UTF-8 and became U+FFFD.
    pub replaced: u64,
}

/// Where the lines come from, for what is said about a broken one.
pub(super) struct Origin<'a> {
    pub file: &'a SourceFile,
    /// Bytes before these lines in the file, or in what was decompressed of it.
    pub position: u64,
    /// Lines before these, where the reader has counted them.
    pub line: Option<u64>,
}

pub(super) fn documents(text: &[u8], origin: &Origin<'_>, options: &Options, validation: Validation) -> Result<Found> {
    let Found { mut bytes, mut segments, mut skipped, mut replaced } = Found::default();
    bytes.reserve(text.len());
    let valid = simdutf8::basic::from_utf8(text).is_ok();
    let mut start = 0;
    for (number, newline) in memchr::memchr_iter(b'\n', text).chain([text.len()]).enumerate() {
        let line = &text[start..newline.max(start)];
        if !line.trim_ascii().is_empty() {
            let from = bytes.len();
            let read = if valid || options.invalid == Invalid::Error {
                field(line, &options.field, &mut bytes)
            } else {
                replaced += line.utf8_chunks().map(|chunk| chunk.invalid().len() as u64).sum::<u64>();
                field(String::from_utf8_lossy(line).as_bytes(), &options.field, &mut bytes)
            };
            match read {
                Ok(()) if bytes.len() > from => {
                    let side = validation.side(&bytes[from..]);
                    segments.push(Segment { range: from..bytes.len(), ends: true, side });
                }
                Ok(()) => {}
                Err(error) => {
                    bytes.truncate(from);
                    let column = error.column().saturating_sub(1);
                    let broken = Skipped {
                        file: origin.file.name.clone(),
                        line: lines_before(origin)? + number as u64 + 1,
                        byte: origin.position + (start + column) as u64,
                        why: reason(&error, line, &options.field),
                    };
                    if !options.skip_bad {
                        let Skipped { file, line, byte, why } = broken;
                        return Err(Error::data(format!("{file}: line {line}, byte {byte}: {why}"))
                            .hint(hint(&error, &options.field)));
                    }
                    skipped.push(broken);
                }
            }
        }
        start = newline + 1;
    }
    Ok(Found { bytes, segments, skipped, replaced })
}

fn hint(error: &serde_json::Error, field: &str) -> String {
    if error.is_data() {
        format!("name another key than {field:?} with --field, or leave such lines out with --skip-bad")
    } else {
        "mend the line, or leave such lines out with --skip-bad".into()
    }
}

fn reason(error: &serde_json::Error, line: &[u8], field: &str) -> String {
    if !error.is_data() && std::str::from_utf8(line).is_err() {
        return "the line is not UTF-8 (--invalid replace puts U+FFFD there)".into();
    }
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    if error.is_data() {
        text.to_string()
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

/// Appends the text under `key` of the object in `line`.
fn field(line: &[u8], key: &str, bytes: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    Object { key, bytes }.deserialize(&mut deserializer)?;
    deserializer.end()
}

struct Object<'a> {
    key: &'a str,
    bytes: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object on each line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let start = self.bytes.len();
        let mut found = false;
        while let Some(wanted) = map.next_key_seed(Key(self.key))? {
            if wanted {
                // the last of two equal keys counts, as in every other JSON reader
                self.bytes.truncate(start);
                map.next_value_seed(Append(self.bytes))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found {
            Ok(())
        } else {
            Err(serde::de::Error::custom(format_args!("the line has no {:?}", self.key)))
        }
    }
}

struct Key<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Append<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text under the key")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

//! The text under a key of a JSON object, without the rest of the object being made.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What lies under the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Text,
    Null,
    Nothing,
}

/// Appends the text under `key` of the object in `line`, or under the keys that its dots join.
pub(super) fn append(line: &[u8], key: &str, bytes: &mut Vec<u8>) -> Result<Held, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(line);
    let held = Object { key, bytes, outermost: true }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(held)
}

/// The keys of the texts of an object, those of objects within it joined by dots, and how long the texts are.
pub(super) fn texts(line: &[u8]) -> Vec<(String, usize)> {
    fn collect(object: &Map<String, Value>, before: &str, found: &mut Vec<(String, usize)>) {
        for (key, value) in object {
            match value {
                Value::String(text) => found.push((format!("{before}{key}"), text.len())),
                Value::Object(within) => collect(within, &format!("{before}{key}."), found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    if let Ok(Value::Object(object)) = serde_json::from_slice(line) {
        collect(&object, "", &mut found);
    }
    found
}

/// The key of a text that is spelled almost like `wanted`.
pub(super) fn nearest(line: &[u8], wanted: &str) -> Option<String> {
    let keys = texts(line).into_iter().map(|(key, _)| (crate::spelling::changes(&key, wanted), key));
    let near = keys.filter(|(changes, key)| key != wanted && *changes <= 2 && changes * 3 <= key.chars().count());
    near.min_by_key(|(changes, _)| *changes).map(|(_, key)| key)
}

struct Object<'a> {
    key: &'a str,
    bytes: &'a mut Vec<u8>,
    /// What is no object is an error.
    outermost: bool,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Held;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Held, D::Error> {
        if self.outermost {
            deserializer.deserialize_map(self)
        } else {
            deserializer.deserialize_any(self)
        }
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object on each line")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Held, A::Error> {
        let start = self.bytes.len();
        let (mut held, mut whole) = (Held::Nothing, false);
        while let Some(part) = map.next_key_seed(Key(self.key))? {
            match part {
                Part::Whole => {
                    // the last of two equal keys counts, as in every other JSON reader
                    self.bytes.truncate(start);
                    held = map.next_value_seed(Append(self.bytes))?;
                    whole = true;
                }
                Part::First(rest) if !whole => {
                    self.bytes.truncate(start);
                    held = map.next_value_seed(Object { key: rest, bytes: self.bytes, outermost: false })?;
                }
                Part::First(_) | Part::None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        if self.outermost && held == Held::Nothing {
            return Err(A::Error::custom(format_args!("the line has no {:?}", self.key)));
        }
        Ok(held)
    }

    // below the outermost object anything else holds no text under a key
    fn visit_bool<E>(self, _: bool) -> Result<Held, E> {
        Ok(Held::Nothing)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Held, E> {
        Ok(Held::Nothing)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Held, E> {
        Ok(Held::Nothing)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Held, E> {
        Ok(Held::Nothing)
    }

    fn visit_str<E>(self, _: &str) -> Result<Held, E> {
        Ok(Held::Nothing)
    }

    fn visit_unit<E>(self) -> Result<Held, E> {
        Ok(Held::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Held, A::Error> {
        while sequence.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Held::Nothing)
    }
}

/// What a key of an object is of the key that is sought.
enum Part<'a> {
    Whole,
    /// What is before a dot of it; the rest lies within.
    First(&'a str),
    None,
}

struct Key<'a>(&'a str);

impl<'de, 'a> DeserializeSeed<'de> for Key<'a> {
    type Value = Part<'a>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Part<'a>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Key<'a> {
    type Value = Part<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Part<'a>, E> {
        Ok(match self.0.strip_prefix(key) {
            Some("") => Part::Whole,
            Some(rest) => rest.strip_prefix('.').map_or(Part::None, Part::First),
            None => Part::None,
        })
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = Held;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Held, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text under the key")
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Held, D::Error> {
        deserializer.deserialize_str(self)
    }

    fn visit_none<E>(self) -> Result<Held, E> {
        Ok(Held::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Held, E> {
        self.0.extend_from_slice(text.as_bytes());
        Ok(Held::Text)
    }
}

//! The members of a JSON object as they are written: a number of any length or size stays what it is, and a line whose
//! text can be read loses none of them to what a parser of values refuses, such as 1e400.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{json, Map, Value};

/// Keys and values in order; of a key that is there twice the last value in the place of the first.
pub(crate) struct Members<'a>(Vec<(String, Cow<'a, str>)>);

impl<'a> Members<'a> {
    /// None where it is no object.
    pub fn of(object: &'a str) -> Option<Self> {
        serde_json::from_str(object).ok()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The value under a key, as it is written.
    pub fn raw(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    /// What lies under a key, or under the keys that dots join.
    pub fn value(&self, key: &str) -> Option<Value> {
        if let Some(value) = self.raw(key) {
            return serde_json::from_str(value).ok();
        }
        let (first, rest) = key.split_once('.')?;
        let within: Value = serde_json::from_str(self.raw(first)?).ok()?;
        at(within.as_object()?, rest).cloned()
    }

    /// Takes the member away; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(name, _)| name != key);
        self.0.len() < before
    }

    /// Takes away what lies under a key, or under the keys that dots join.
    pub fn remove_within(&mut self, key: &str) {
        if self.remove(key) {
            return;
        }
        let Some((first, rest)) = key.split_once('.') else { return };
        if let Some((_, value)) = self.0.iter_mut().find(|(name, _)| name == first) {
            let shorter = Members::of(value).map(|mut within| {
                within.remove_within(rest);
                within.written()
            });
            *value = shorter.map_or_else(|| value.clone(), Cow::Owned);
        }
    }

    /// The object, without white space and with its strings as they are.
    pub fn written(&self) -> String {
        let pairs: Vec<String> =
            self.0.iter().map(|(key, value)| format!("{}:{}", json!(key), compact(value))).collect();
        format!("{{{}}}", pairs.join(","))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Members<'de>;

            fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, Cow<'de, str>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, &'de RawValue>()? {
                    let value = Cow::Borrowed(value.get());
                    match members.iter_mut().find(|(name, _)| *name == key) {
                        Some(there) => there.1 = value,
                        None => members.push((key, value)),
                    }
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Read)
    }
}

/// A value on one line, and its strings as UTF-8 where they can be.
fn compact(value: &str) -> Cow<'_, str> {
    if value.contains('\\') {
        // escapes are read; half of a pair of surrogates cannot be
        if let Ok(value) = serde_json::from_str::<Value>(value) {
            return value.to_string().into();
        }
    }
    if !value.contains([' ', '\t', '\r', '\n']) {
        return value.into();
    }
    let (mut inside, mut escaped) = (false, false);
    let kept = value.chars().filter(|&sign| {
        let blank = !inside && sign.is_ascii_whitespace();
        inside ^= sign == '"' && !escaped;
        escaped = sign == '\\' && !escaped;
        !blank
    });
    kept.collect::<String>().into()
}

/// What lies under a key, or under the keys that dots join.
pub(super) fn at<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let within = || {
        let (first, rest) = key.split_once('.')?;
        at(object.get(first)?.as_object()?, rest)
    };
    object.get(key).or_else(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_as_they_are_written() {
        let line = r#"{ "a" : 1.10, "b":123456789012345678901234567890 ,"c": 1e400, "d": {"x": [1, " \" , "]}, "\u00e9": "\u00fc", "s": ["\ud800 ", 2], "a": -0 }"#;
        let mut members = Members::of(line).unwrap();
        let whole =
            r#"{"a":-0,"b":123456789012345678901234567890,"c":1e400,"d":{"x":[1," \" , "]},"é":"ü","s":["\ud800 ",2]}"#;
        assert_eq!(members.written(), whole);
        assert_eq!(members.value("d.x"), Some(json!([1, " \" , "])));
        members.remove_within("d.x");
        assert!(members.remove("s") && !members.remove("nothing"));
        assert_eq!(members.written(), r#"{"a":-0,"b":123456789012345678901234567890,"c":1e400,"d":{},"é":"ü"}"#);
        assert!(Members::of("[1]").is_none() && Members::of("{").is_none());
    }
}

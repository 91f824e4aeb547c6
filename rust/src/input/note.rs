//! What a source says of a document beside its text.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::surrogates::whole_surrogates;
use super::Options;

/// Of one document, where it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Note {
    /// What the source calls it, under `id`.
    pub id: Option<String>,
    /// That is a number there.
    pub id_is_number: bool,
    /// Everything else, as a JSON object.
    pub meta: Option<String>,
    /// The number that was asked for by name.
    pub extra: Option<i64>,
}

impl Note {
    /// Of everything but the text.
    pub(super) fn of(mut object: Map<String, Value>) -> Self {
        let id_is_number = matches!(object.get("id"), Some(Value::Number(_)));
        let id = match object.get("id") {
            Some(Value::String(id)) => Some(id.clone()),
            Some(Value::Number(id)) => Some(id.to_string()),
            _ => None,
        };
        if id.is_some() {
            object.shift_remove("id");
        }
        let meta = (!object.is_empty()).then(|| Value::Object(object).to_string());
        Self { id, id_is_number, meta, extra: None }
    }

    /// Of what a line holds, where the number is among it, perhaps written as text.
    pub(super) fn with_extra(object: Map<String, Value>, options: &Options) -> Self {
        let extra = options.extra.as_deref().and_then(|key| at(&object, key)).and_then(|value| match value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        });
        let note = if options.meta { Self::of(object) } else { Self::default() };
        Self { extra, ..note }
    }

    /// Of a line whose text was read.
    pub(super) fn of_line(line: &[u8], options: &Options) -> Self {
        let Some(mut object) = object_of(&String::from_utf8_lossy(line)) else { return Self::default() };
        remove(&mut object, &options.field);
        Self::with_extra(object, options)
    }
}

/// The object that a line is. What no reader holds costs itself and not what stands beside it: half a pair of surrogates
/// becomes U+FFFD, a field with a number beyond all bounds or with too deep a nesting is left out.
fn object_of(line: &str) -> Option<Map<String, Value>> {
    if let Ok(object) = serde_json::from_str(line) {
        return Some(object);
    }
    let mended = whole_surrogates(line.as_bytes()).map(|(mended, _)| mended);
    let line = mended.as_deref().unwrap_or(line.as_bytes());
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(line).ok()?;
    Some(fields.into_iter().filter_map(|(key, raw)| Some((key, serde_json::from_str(raw.get()).ok()?))).collect())
}

fn remove(object: &mut Map<String, Value>, key: &str) {
    if object.shift_remove(key).is_some() {
        return;
    }
    if let Some((first, rest)) = key.split_once('.') {
        if let Some(Value::Object(within)) = object.get_mut(first) {
            remove(within, rest);
        }
    }
}

/// What lies under a key, or under the keys that dots join.
pub(super) fn at<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    let within = || {
        let (first, rest) = key.split_once('.')?;
        at(object.get(first)?.as_object()?, rest)
    };
    object.get(key).or_else(within)
}

//! What a source says of a document beside its text.

use serde_json::{Map, Value};

use super::members::{at, Members};
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

    /// Of what a row holds, where the number is among it, perhaps written as text.
    pub(super) fn with_extra(object: Map<String, Value>, options: &Options) -> Self {
        let extra = options.extra.as_deref().and_then(|key| whole(at(&object, key)?));
        let note = if options.meta { Self::of(object) } else { Self::default() };
        Self { extra, ..note }
    }

    /// Of a line whose text was read, as it is written. The number that is asked for may be written as text.
    pub(super) fn of_line(line: &[u8], options: &Options) -> Self {
        let line = String::from_utf8_lossy(line);
        let Some(mut members) = Members::of(&line) else { return Self::default() };
        members.remove_within(&options.field);
        let extra = options.extra.as_deref().and_then(|key| whole(&members.value(key)?));
        let note = if options.meta { Self::of_members(members) } else { Self::default() };
        Self { extra, ..note }
    }

    fn of_members(mut members: Members<'_>) -> Self {
        let raw = members.raw("id").unwrap_or_default();
        let id_is_number = raw.starts_with(|sign: char| sign == '-' || sign.is_ascii_digit());
        let id = if id_is_number { Some(raw.to_string()) } else { serde_json::from_str(raw).ok() };
        if id.is_some() {
            members.remove("id");
        }
        let meta = (!members.is_empty()).then(|| members.written());
        Self { id, id_is_number, meta, extra: None }
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

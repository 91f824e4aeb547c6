//! What a document is worth among its duplicates.

use std::collections::BTreeSet;

use serde_json::Value;

use super::request::Keep;
use super::tags::Tags;
use super::walk::Walk;
use crate::error::{Error, Result};
use crate::input::Members;

/// Fields that say when a document was made, the likeliest first.
const DATES: [&str; 7] = ["date", "timestamp", "created", "published", "crawl_timestamp", "updated", "dump"];

/// Documents whose fields are looked through for those that hold a number.
const LOOKED_THROUGH: u32 = 1000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Worth {
    /// All are worth the same, and the first stays.
    Same,
    Characters,
    Date,
    Field(String),
}

impl Worth {
    pub fn of(keep: &Keep) -> Self {
        match keep {
            Keep::First => Self::Same,
            Keep::Longest => Self::Characters,
            Keep::Newest => Self::Date,
            Keep::Best(field) => Self::Field(field.clone()),
        }
    }

    /// NaN where nothing says.
    pub fn of_document(&self, text: &str, fields: &str) -> f64 {
        match self {
            Self::Same => f64::NAN,
            Self::Characters => text.chars().count() as f64,
            Self::Date => DATES.iter().find_map(|name| date(&Members::of(fields)?.value(name)?)).unwrap_or(f64::NAN),
            Self::Field(name) => {
                Members::of(fields).and_then(|fields| number(&fields.value(name)?)).unwrap_or(f64::NAN)
            }
        }
    }
}

/// Fails where duplicates are told apart by a field that no document has a number in: the first of each would stay.
pub(super) fn refuse_unknown(keep: &Keep, tags: &Tags, walk: &mut impl Walk) -> Result<()> {
    let Keep::Best(field) = keep else { return Ok(()) };
    let (mut known, mut names) = (false, BTreeSet::new());
    tags.each(&mut |_, tag| {
        known |= !tag.value.is_nan();
        Ok(())
    })?;
    if known {
        return Ok(());
    }
    for document in 0..tags.schema.documents.min(LOOKED_THROUGH) {
        let (fields, _) = walk.document(document)?;
        names.extend(Members::of(fields).iter().flat_map(numbered));
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = match names.as_slice() {
        [] => "no field of theirs holds a number: take --keep first, longest or newest, with --force".into(),
        names => format!("such fields of theirs are {}: name one, with --force", names.join(", ")),
    };
    Err(Error::usage(format!("--keep best:{field}: no document has a number under {field:?}")).hint(hint))
}

/// The fields that hold a number.
fn numbered(fields: &Members<'_>) -> Vec<String> {
    let holds = |name: &&str| fields.value(name).is_some_and(|value| number(&value).is_some());
    fields.names().filter(holds).map(str::to_string).collect()
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A date as a number that grows with it: of `2024-05-01T12:00:00Z` its digits, or a number as it is.
fn date(value: &Value) -> Option<f64> {
    let Value::String(text) = value else { return number(value) };
    let digits: String = text.split(['.', '+', 'Z']).next()?.chars().filter(char::is_ascii_digit).take(14).collect();
    let year = text.get(..4)?.bytes().all(|digit| digit.is_ascii_digit());
    (year && digits.len() >= 4).then(|| format!("{digits:0<14}").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_dates_and_better_fields_are_worth_more() {
        let worth = |fields: &str| Worth::Date.of_document("", fields);
        assert!(worth(r#"{"date":"2024-05-01"}"#) < worth(r#"{"date":"2024-05-01T00:00:01Z"}"#));
        assert!(worth(r#"{"date":"2019"}"#) < worth(r#"{"created":"2020-01-01 00:00:00.5+02:00"}"#));
        assert!(worth(r#"{"date":"yesterday"}"#).is_nan() && worth("").is_nan());
        let best = Worth::Field("scores.quality".into());
        assert!((best.of_document("", r#"{"scores":{"quality":0.75}}"#) - 0.75).abs() < 1e-12);
        assert!((best.of_document("", r#"{"scores.quality":"3"}"#) - 3.0).abs() < 1e-12);
        assert!((Worth::Characters.of_document("añb", "") - 3.0).abs() < 1e-12);
    }
}

//! What a document is worth among its duplicates.

use serde_json::Value;

use super::request::Keep;
use crate::input::Members;

/// Fields that say when a document was made, the likeliest first.
const DATES: [&str; 7] = ["date", "timestamp", "created", "published", "crawl_timestamp", "updated", "dump"];

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

/// The fields that hold a number.
pub(super) fn numbered(fields: &Members<'_>) -> Vec<String> {
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

//! What was asked and how it is cut into work: all that decides a byte of the output.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::request::Request;
use crate::error::Result;
use crate::files::read_json;
use crate::input::{plan_units, Input, SourceFile, Unit, Validation};

pub(super) const JOB: &str = "job.json";
/// What mends a file of ours that is damaged.
pub(super) const AGAIN: &str = "clean again with --force, which replaces what is in the folder";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Of pylm: another one may find something else in the same text.
    pub version: String,
    pub request: Request,
    pub sources: Vec<SourceFile>,
    pub units: Vec<Unit>,
}

impl Job {
    pub fn plan(input: &Input, request: Request) -> Result<Self> {
        let units = plan_units(input, request.unit_bytes, Validation::None, None)?;
        Ok(Self { version: crate::VERSION.into(), request, sources: input.files.to_vec(), units })
    }

    /// The job of a folder, where it has one.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        read_json(&folder.join(JOB), AGAIN)
    }

    /// What tells it from another: the hash of what was asked, and of what its sources are.
    pub fn identity(&self) -> String {
        let sources: Vec<_> = self.sources.iter().map(|file| (&file.name, file.size, &file.fingerprint)).collect();
        let told = serde_json::json!([self.version, self.request, sources]).to_string();
        format!("{:032x}", xxhash_rust::xxh3::xxh3_128(told.as_bytes()))
    }

    /// Whether what lies in a folder is of this job; None where none was begun there.
    pub fn stands_in(&self, folder: &Path) -> Option<bool> {
        match Self::read(folder) {
            Ok(None) => None,
            Ok(Some(other)) => Some(self.difference(&other).is_none()),
            Err(_) => Some(false),
        }
    }

    /// The first thing in which the two differ, in words; None where they are the same.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if let Some(difference) = SourceFile::difference(&self.sources, &other.sources) {
            return Some(difference);
        }
        if self.version != other.version {
            return Some(format!("by pylm {}", other.version));
        }
        let flat = |job: &Self| match serde_json::to_value(&job.request) {
            Ok(Value::Object(request)) => request,
            _ => serde_json::Map::new(),
        };
        // rules that go by one name are told by it
        let word = |key: &str| if key == "named" { "rules".into() } else { key.replace('_', "-") };
        let theirs = flat(other);
        for (key, value) in &flat(self) {
            let other = theirs.get(key).unwrap_or(&Value::Null);
            if other != value {
                return Some(match (short(other), short(value)) {
                    (Some(other), Some(value)) => format!("with {} {other} instead of {value}", word(key)),
                    _ => format!("with other {}", word(key)),
                });
            }
        }
        (self.units != other.units).then(|| "in other pieces".into())
    }
}

/// A value that a sentence can hold.
fn short(value: &Value) -> Option<String> {
    let text = value.to_string();
    (!value.is_object() && text.len() <= 60).then_some(text)
}

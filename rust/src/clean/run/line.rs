//! A document as a line of JSON: its text first, then its other fields as they came.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{json, Value};

use crate::clean::private::{self, Kind};
use crate::error::{Error, Result};
use crate::input::{Members, Note};

/// What a source says of a document beside its text, as one JSON object; empty where it says nothing. A field that is
/// called as the text is goes for it.
pub(super) fn fields_of(note: &Note) -> String {
    let mut fields = String::new();
    if let Some(id) = &note.id {
        let id = if note.id_is_number { id.clone() } else { json!(id).to_string() };
        fields = format!("{{\"id\":{id}}}");
    }
    let Some(meta) = &note.meta else { return fields };
    let others = without(meta, &["text"]);
    let others = others.as_deref().unwrap_or(meta);
    match (fields.is_empty(), others) {
        (_, "{}") => fields,
        (true, others) => others.into(),
        (false, others) => format!("{},{}", &fields[..fields.len() - 1], &others[1..]),
    }
}

/// The object without keys that are written anew; None where it has none of them.
fn without(object: &str, keys: &[&str]) -> Option<String> {
    if !keys.iter().any(|key| object.contains(&format!("\"{key}\""))) {
        return None;
    }
    let mut members = Members::of(object)?;
    let found = keys.iter().filter(|key| members.remove(key)).count();
    (found > 0).then(|| members.written())
}

/// Says where addresses stand in what is left of a text, in place of where they stood in it; one that had none, and has
/// none, keeps a field of that name of its own.
pub(super) fn tag_again(fields: &mut String, text: &str, left: &str) {
    let mut found = Vec::new();
    private::find(text, &mut found);
    if !found.is_empty() {
        remove_spans(fields);
    }
    private::find(left, &mut found);
    if !found.is_empty() {
        add_spans(fields, &private::in_code_points(left, &found));
    }
}

fn remove_spans(fields: &mut String) {
    if let Some(others) = without(fields, &["private"]) {
        *fields = if others == "{}" { String::new() } else { others };
    }
}

/// Adds where addresses stand in the text, in code points: `"private": [[start, end, kind], …]`.
pub(super) fn add_spans(fields: &mut String, found: &[(u64, u64, Kind)]) {
    let spans: Vec<Value> = found.iter().map(|(start, end, kind)| json!([start, end, kind.name()])).collect();
    remove_spans(fields);
    let before = if fields.is_empty() { "{" } else { &format!("{},", &fields[..fields.len() - 1]) };
    *fields = format!("{before}\"private\":{}}}", json!(spans));
}

/// Appends a document's line. `more` are pairs in JSON that come after its own fields, each with a comma before it: what
/// is said of its cluster, in place of what an earlier cleaning said.
pub(super) fn write_kept(text: &str, fields: &str, more: &str, to: &mut Vec<u8>) -> Result<()> {
    to.extend_from_slice(b"{\"text\":");
    serde_json::to_writer(&mut *to, text).map_err(broken)?;
    let fields = without_cluster(fields, more);
    if fields.len() > 2 {
        to.push(b',');
        to.extend_from_slice(&fields.as_bytes()[1..fields.len() - 1]);
    }
    to.extend_from_slice(more.as_bytes());
    to.extend_from_slice(b"}\n");
    Ok(())
}

/// The text of a line that `write_kept` wrote, and its fields; `more` is what came after them.
pub(super) fn read_kept<'a>(line: &'a str, more: &str) -> Result<(String, Cow<'a, str>)> {
    let inside = line.trim_end_matches('\n').strip_prefix("{\"text\":").and_then(|rest| rest.strip_suffix('}'));
    let inside = inside.and_then(|rest| rest.strip_suffix(more)).ok_or_else(foreign)?;
    let mut texts = serde_json::Deserializer::from_str(inside).into_iter::<String>();
    let text = texts.next().ok_or_else(foreign)?.map_err(broken)?;
    let rest = &inside[texts.byte_offset()..];
    let fields = rest.strip_prefix(',').map_or(Cow::Borrowed(""), |fields| format!("{{{fields}}}").into());
    Ok((text, fields))
}

/// The fields and the text of a line of what was removed; where it was written without them, its id alone.
pub(super) fn read_removed(line: &str) -> Result<(String, Option<String>)> {
    #[derive(serde::Deserialize)]
    struct Removed<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
        text: Option<String>,
        #[serde(borrow)]
        fields: Option<&'a RawValue>,
    }
    let Removed { id, text, fields } = serde_json::from_str(line).map_err(broken)?;
    let fields = match (&text, fields, id) {
        (Some(_), Some(fields), _) => fields.get().into(),
        (None, _, Some(id)) => format!("{{\"id\":{}}}", id.get()),
        _ => String::new(),
    };
    Ok((fields, text))
}

/// What a document calls itself, by its fields, as it is written.
pub(super) fn id_of(fields: &str) -> Option<&str> {
    let mut values = serde_json::Deserializer::from_str(fields.strip_prefix("{\"id\":")?).into_iter::<&RawValue>();
    values.next()?.ok().map(RawValue::get).filter(|id| *id != "null")
}

/// The fields of a document but for those that its cluster has, where it is in one.
pub(super) fn without_cluster<'a>(fields: &'a str, more: &str) -> Cow<'a, str> {
    let others = if more.is_empty() { None } else { without(fields, &["cluster", "cluster_size"]) };
    others.map_or(Cow::Borrowed(fields), Cow::Owned)
}

fn foreign() -> Error {
    Error::data("a line of the folder's text is not as it was written").hint("copy the folder again, or clean again")
}

fn broken(error: serde_json::Error) -> Error {
    Error::data(format!("a line of the folder's text is broken: {error}")).hint("copy the folder again, or clean again")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(id: Option<&str>, number: bool, meta: Option<&str>) -> Note {
        Note { id: id.map(Into::into), id_is_number: number, meta: meta.map(Into::into), extra: None }
    }

    #[test]
    fn fields_are_as_the_source_has_them() {
        assert_eq!(fields_of(&note(None, false, None)), "");
        assert_eq!(fields_of(&note(Some("a\"b"), false, None)), r#"{"id":"a\"b"}"#);
        assert_eq!(fields_of(&note(Some("7"), true, Some(r#"{"x":0.1}"#))), r#"{"id":7,"x":0.1}"#);
        assert_eq!(
            fields_of(&note(None, false, Some(r#"{"text":"old","body":{"text":1}}"#))),
            r#"{"body":{"text":1}}"#
        );
        assert_eq!(fields_of(&note(Some("a"), false, Some(r#"{"text":"old"}"#))), r#"{"id":"a"}"#);
    }

    #[test]
    fn a_line_gives_back_what_it_was_written_of() {
        for fields in ["", r#"{"id":7,"x":[1,"}"]}"#, r#"{"id":7,"cluster_of":"cluster"}"#] {
            for more in ["", r#","cluster_size":2"#] {
                let (mut line, text) = (Vec::new(), "a \"line\"\n\u{1}\u{2028}é");
                write_kept(text, fields, more, &mut line).unwrap();
                let line = String::from_utf8(line).unwrap();
                let value: Value = serde_json::from_str(&line).unwrap();
                assert_eq!(value["text"], text);
                assert_eq!(read_kept(&line, more).unwrap(), (text.to_string(), fields.into()));
            }
        }
    }

    #[test]
    fn what_an_earlier_cleaning_said_is_said_anew() {
        let mut line = Vec::new();
        let mut fields = r#"{"private":[],"cluster":1,"cluster_size":9}"#.to_string();
        add_spans(&mut fields, &[]);
        assert_eq!(fields, r#"{"cluster":1,"cluster_size":9,"private":[]}"#);
        write_kept("a", &fields, r#","cluster":5,"cluster_size":2"#, &mut line).unwrap();
        assert_eq!(
            line,
            br#"{"text":"a","private":[],"cluster":5,"cluster_size":2}
"#
        );
        line.clear();
        write_kept("a", r#"{"cluster":1}"#, r#","cluster":5"#, &mut line).unwrap();
        assert_eq!(line, b"{\"text\":\"a\",\"cluster\":5}\n");
    }
}

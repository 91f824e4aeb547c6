//! Folders that cleaning wrote: of all that lies there, what was kept is the text.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{shown, Error, Result};

/// The files of what was kept, in order; None where no cleaning wrote the folder.
pub(super) fn texts_of(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let manifest = read(&folder.join("manifest.json"));
    if let Some(manifest) = manifest.filter(|manifest| manifest["format"] == "pylm-clean") {
        let names = manifest["files"].as_array().into_iter().flatten().filter_map(|file| file["path"].as_str());
        let texts: Vec<PathBuf> =
            names.filter(|name| name.starts_with("text_")).map(|name| folder.join(name)).collect();
        if texts.is_empty() {
            return Err(Error::data(format!("{} holds tags and no text", shown(folder)))
                .hint("clean again without --tags-only, into another folder"));
        }
        return Ok(Some(texts));
    }
    let begun = folder.join(".parts").is_dir();
    if begun && read(&folder.join("job.json")).is_some_and(|job| job.get("request").is_some()) {
        return Err(Error::data(format!("{} is not finished: cleaning was interrupted there", shown(folder)))
            .hint("run the same pylm data clean command again; it does what is missing"));
    }
    Ok(None)
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

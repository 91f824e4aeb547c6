//! The last step: joins the parts, decides, writes text, report and manifest. Killed at any moment and run again it
//! gives the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{json, Value};

use super::chain::{Chain, Tally};
use super::decide::{alone, among_duplicates, refuse_unknown, Decided};
use super::drops::Drops;
use super::judge::{columns, Judge, STAYS};
use super::output::{sha256, REPORT, SHOWN, TAGS};
use super::part::{standing, Record};
use super::plan::{Job, AGAIN, JOB};
use super::report::Reported;
use super::request::Request;
use super::tags::{Schema, Tags, Tested, FORMAT as TAGS_FORMAT};
use super::task::Task;
use super::texts::Parts;
use super::walk::Walk;
use super::write::Writing;
use crate::clean::contamination;
use crate::clean::duplicates::{clusters, Means, Place, Sketcher};
use crate::clean::record::{Clustered, Tag, CLUSTERS, EMPTY, RECORDS, SCHEMA, SKETCHES};
use crate::clean::rules::NAMES;
use crate::error::{write_error, Error, Result};
use crate::files::{read_json, remove_parts, sync_folder, to_json, write_atomically};
use crate::lock::Lock;
use crate::ranks::Held;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const FORMAT: &str = "pylm-clean";

/// The manifest of a folder whose files all have their size; None where it is not finished.
pub(super) fn finished(folder: &Path) -> Result<Option<Value>> {
    let Some(manifest) = read_json::<Value>(&folder.join(MANIFEST), AGAIN)? else { return Ok(None) };
    let stands = |file: &Value| {
        let name = file["path"].as_str().unwrap_or_default();
        fs::metadata(folder.join(name)).is_ok_and(|metadata| Some(metadata.len()) == file["size"].as_u64())
    };
    let whole =
        manifest["format"] == FORMAT && manifest["files"].as_array().is_some_and(|files| files.iter().all(stands));
    Ok((whole && Job::read(folder)?.is_some()).then_some(manifest))
}

/// The manifest, or how many units are missing for it. Who asks holds its own lock.
pub(super) fn finish(task: &Task<'_>, chain: &Chain, _own: &Lock) -> Result<(Option<Value>, usize)> {
    let Task { job, folder, .. } = *task;
    let check = || task.input.options.check();
    let _held = Held::wait(folder, &check)?;
    if let Some(manifest) = finished(folder)? {
        return Ok((Some(manifest), 0));
    }
    let records: Vec<Option<Record>> = (0..job.units.len()).map(|unit| standing(folder, unit)).collect();
    let missing = records.iter().filter(|record| record.is_none()).count();
    if missing > 0 {
        return Ok((None, missing));
    }
    let records: Vec<Record> = records.into_iter().flatten().collect();
    if records.iter().all(|record| record.documents == 0) {
        return Err(Error::data("the sources hold no text").hint("check the files, --split, --field and --column"));
    }
    let schema = schema(job, chain, &records)?;
    let judge = Judge::new(&job.request, &schema.classifiers)?;
    let (documents, measures) = (schema.documents, schema.measures.len());
    let means = Means { memory: task.memory, scratch: &task.parts(), threads: task.threads, check: &check };
    let mut parts = Parts::open(folder, measures, &records, job.request.pii)?;
    parts.drops = Drops::find(job.request.repeats(), documents, &means, &|| parts.walk())?;
    // a folder that was killed while it got here is joined again
    remove_parts(&folder.join(TAGS))?;
    let mut texts = parts.walk();
    let mut amend = |document: u32, tag: &mut Tag| {
        if parts.drops.any() {
            let (fields, text) = texts.document(document)?;
            let text = text.unwrap_or_default();
            (tag.bytes, tag.fields) = (text.len() as u64, fields.len() as u32);
            tag.flags |= if text.trim().is_empty() { EMPTY } else { 0 };
        }
        Ok(())
    };
    let mut tags = Tags::join(job, folder, &records, task.parts().join(TAGS), schema, &mut amend)?;
    if let Err(error) = refuse_unknown(&job.request.keep, &tags, &mut parts.walk()) {
        remove_parts(&tags.folder)?; // --force removes files alone
        return Err(error);
    }
    let verdicts = alone(&tags, &judge)?;
    let keep = |document: u32| verdicts[document as usize] == STAYS;
    let settings = job.request.duplicates()?;
    let found = clusters(&tags.sketches(), Place::Texts(&parts), &settings, &keep, &means)?;
    (tags.schema.pairs_compared, tags.schema.pairs_left) = (found.compared, found.left);
    let clustered = Clustered { exact: found.exact, near: found.near };
    tags.write(&clustered)?;
    let place = folder.join(TAGS);
    fs::rename(&tags.folder, &place).map_err(|error| write_error("move", &place, &error))?;
    tags.folder = place;
    let decided = among_duplicates(&tags, &job.request, &judge, verdicts, clustered)?;
    let out = Out { folder, request: &job.request, tags: &tags, judge: &judge, decided: &decided, show: task.show };
    let manifest = out.write(task.threads, &check, &|| Ok(parts.walk()), &manifest_of(job))?;
    remove_parts(&task.parts())?;
    Ok((Some(manifest), 0))
}

/// What is written of decisions, and from where.
pub(super) struct Out<'a> {
    pub folder: &'a Path,
    pub request: &'a Request,
    pub tags: &'a Tags,
    pub judge: &'a Judge,
    pub decided: &'a Decided,
    pub show: &'a (dyn Fn(&Path) -> Result<()> + Sync),
}

impl Out<'_> {
    /// Writes text, what was removed, the report and, last, the manifest, which it gives.
    pub fn write<W: Walk>(
        &self,
        threads: usize,
        check: &(dyn Fn() -> Result<()> + Sync),
        walk: &(dyn Fn() -> Result<W> + Sync),
        about: &Value,
    ) -> Result<Value> {
        let Self { folder, request, tags, judge, decided, show } = *self;
        let mut files = Writing { folder, request, tags, judge, decided, check }.run(threads, walk)?;
        let report = Reported { request, tags, judge, decided }.make(&mut walk()?)?;
        write_atomically(&folder.join(REPORT), &to_json(&report))?;
        show(folder)?;
        files.extend([RECORDS, SKETCHES, CLUSTERS, SCHEMA].map(|name| format!("{TAGS}/{name}")));
        files.extend([REPORT, SHOWN, JOB].map(str::to_string).into_iter().filter(|name| folder.join(name).exists()));
        let mut listed = Vec::new();
        for name in files {
            check()?;
            let (sha256, size) = sha256(&folder.join(&name))?;
            listed.push(json!({"path": name, "size": size, "sha256": sha256}));
        }
        let mut manifest = about.clone();
        for key in ["documents", "bytes", "kept"] {
            manifest[key] = report[key].clone();
        }
        manifest["removed"] = reasons_of(&report);
        manifest["files"] = json!(listed);
        // files have their names before the manifest says so
        sync_folder(folder)?;
        write_atomically(&folder.join(MANIFEST), &to_json(&manifest))?;
        Ok(manifest)
    }
}

/// What a manifest says before anything was decided.
pub(super) fn manifest_of(job: &Job) -> Value {
    let sources = job.sources.iter();
    let sources: Vec<Value> =
        sources.map(|file| json!({"name": file.name, "size": file.size, "fingerprint": file.fingerprint})).collect();
    json!({
        "format": FORMAT,
        "version": job.version,
        "rules": job.request.named,
        "sources": sources,
        "settings": job.request,
        "thresholds": job.request.rules.full(),
    })
}

/// Documents and bytes by reason, the commonest first, with the key that decided most of them.
fn reasons_of(report: &Value) -> Value {
    struct Gone<'a> {
        documents: u64,
        bytes: u64,
        key: &'a str,
        most: u64,
    }
    let mut reasons: BTreeMap<&str, Gone> = BTreeMap::new();
    for told in report["reasons"].as_array().into_iter().flatten() {
        let text = |name: &str| told[name].as_str().unwrap_or_default();
        let count = |name: &str| told[name].as_u64().unwrap_or(0);
        let gone = reasons.entry(text("reason")).or_insert(Gone { documents: 0, bytes: 0, key: "", most: 0 });
        gone.documents += count("documents");
        gone.bytes += count("bytes");
        if count("documents") > gone.most {
            (gone.key, gone.most) = (text("key"), count("documents"));
        }
    }
    let mut reasons: Vec<(&str, Gone)> = reasons.into_iter().collect();
    reasons.sort_by_key(|(name, gone)| (std::cmp::Reverse(gone.documents), *name));
    let told = reasons
        .into_iter()
        .map(|(name, gone)| json!({"reason": name, "key": gone.key, "documents": gone.documents, "bytes": gone.bytes}));
    told.collect()
}

fn schema(job: &Job, chain: &Chain, records: &[Record]) -> Result<Schema> {
    let mut tally = Tally::default();
    for record in records {
        tally.add(&record.tally);
    }
    let documents: u64 = records.iter().map(|record| u64::from(record.documents)).sum();
    let documents = u32::try_from(documents).ok().filter(|documents| *documents < u32::MAX).ok_or_else(|| {
        Error::data(format!("{documents} documents are more than can be compared with each other"))
            .hint("clean the sources one after another")
    })?;
    let mut measures: Vec<String> = columns(&job.request).iter().map(|column| NAMES[*column].into()).collect();
    measures.extend(job.request.classifiers.iter().cloned());
    Ok(Schema {
        format: TAGS_FORMAT.into(),
        documents,
        record_bytes: Tag::size(measures.len()),
        sketch_bytes: Sketcher::new(&job.request.duplicates()?).sketch_bytes(),
        measures,
        sources: job.sources.iter().map(|file| file.name.clone()).collect(),
        classifiers: chain.classifiers(),
        tests: tests(chain, &tally),
        pairs_compared: 0,
        pairs_left: 0,
        tally,
    })
}

/// The tests that were looked for, with how many of their items were found.
fn tests(chain: &Chain, tally: &Tally) -> Vec<Tested> {
    let Some(index) = chain.tests() else { return Vec::new() };
    let mut found = vec![0; index.tasks().len()];
    tally.items.iter().for_each(|item| found[index.item(*item).0 as usize] += 1);
    let tested = |(task, items_found): (&contamination::Task, u32)| Tested {
        task: task.name.clone(),
        items: task.items,
        items_with_a_gram: task.items_with_a_gram,
        items_found,
    };
    index.tasks().iter().zip(found).map(tested).collect()
}

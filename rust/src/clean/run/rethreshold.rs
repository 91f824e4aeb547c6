//! Decisions anew, by other thresholds, of what was found then.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{json, Value};

use super::again::FolderWalk;
use super::begin::{clear, refuse_other};
use super::decide::{alone, among_duplicates, Decided};
use super::finish::{finished, manifest_of, Out, MANIFEST};
use super::judge::{Judge, STAYS};
use super::output::TAGS;
use super::plan::{Job, JOB};
use super::request::Request;
use super::tags::Tags;
use crate::clean::duplicates::{clusters, Means, Near, Place, Texts};
use crate::clean::record::{Clustered, RECORDS, SKETCHES};
use crate::error::{write_error, Error, Result};
use crate::files::{make_folder, remove, remove_parts, to_json, write_atomically, PARTS};
use crate::ranks::{alone as nobody_writes, refuse_busy, Held};

/// A folder that is finished, what is asked of it now, and where that goes; nowhere if it is only to be counted.
pub struct Again<'a> {
    pub folder: &'a Path,
    pub rules: crate::clean::rules::Settings,
    pub out: Option<&'a Path>,
    pub memory: usize,
    pub threads: usize,
    pub force: bool,
    pub show: &'a (dyn Fn(&Path) -> Result<()> + Sync),
    pub check: &'a (dyn Fn() -> Result<()> + Sync),
}

/// The job of a folder that is finished.
pub fn job_of(folder: &Path) -> Result<Job> {
    let Some(_) = finished(folder)? else {
        let begun = folder.join(JOB).exists();
        let (what, hint) = if begun {
            ("is not finished", "run the same pylm data clean command again; it does what is missing")
        } else {
            ("holds no cleaned text", "give a folder that pylm data clean wrote")
        };
        return Err(Error::data(format!("{} {what}", folder.display())).hint(hint));
    };
    Job::read(folder)?.ok_or_else(|| Error::data(format!("{} has no {JOB}", folder.display())))
}

impl Again<'_> {
    /// Documents by reason, then and now.
    pub fn run(&self) -> Result<Value> {
        let job = job_of(self.folder)?;
        let tags = Tags::open(self.folder)?;
        let now = Job { request: Request { rules: self.rules.clone(), ..job.request.clone() }, ..job.clone() };
        let (_, then) = self.decided(&tags, &job.request)?;
        let (judge, decided) = self.decided(&tags, &now.request)?;
        let counts = |decided: &Decided| -> Value {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            for verdict in &decided.verdicts {
                let reason = if *verdict == STAYS { "kept" } else { &judge.reasons[*verdict as usize].name };
                *counts.entry(reason).or_default() += 1;
            }
            json!(counts)
        };
        let told = json!({"documents": tags.schema.documents, "before": counts(&then), "after": counts(&decided)});
        if let Some(out) = self.out {
            self.write(out, &job, &now, &tags, &then, &judge, &decided)?;
        }
        Ok(told)
    }

    fn decided(&self, tags: &Tags, request: &Request) -> Result<(Judge, Decided)> {
        let judge = Judge::new(request, &tags.schema.classifiers)?;
        let verdicts = alone(tags, &judge)?;
        let mut clustered = tags.clustered()?;
        let settings = request.duplicates()?;
        // these compare what passes the rules, and nothing else
        if settings.near == Near::FineWeb {
            let scratch = std::env::temp_dir();
            let means = Means { memory: self.memory, scratch: &scratch, threads: self.threads, check: self.check };
            let keep = |document: u32| verdicts[document as usize] == STAYS;
            let found = clusters(&tags.sketches(), Place::Texts(&NoTexts), &settings, &keep, &means)?;
            clustered = Clustered { exact: found.exact, near: found.near };
        }
        let decided = among_duplicates(tags, request, &judge, verdicts, clustered)?;
        Ok((judge, decided))
    }

    #[expect(clippy::too_many_arguments, reason = "what was and what is, each in three parts")]
    fn write(
        &self,
        out: &Path,
        job: &Job,
        now: &Job,
        tags: &Tags,
        then: &Decided,
        judge: &Judge,
        decided: &Decided,
    ) -> Result<()> {
        let missing =
            then.verdicts.iter().zip(&decided.verdicts).filter(|(then, now)| **then != STAYS && **now == STAYS);
        let missing = missing.count();
        if missing > 0 && !job.request.keep_removed && !job.request.tags_only {
            return Err(Error::usage(format!(
                "{missing} documents come back, and {} does not hold their text",
                self.folder.display()
            ))
            .hint("clean with --keep-removed, then change thresholds"));
        }
        make_folder(out)?;
        let _held = Held::wait(out, self.check)?;
        refuse_other(out, now, self.force)?;
        if !nobody_writes(&out.join(PARTS), None) {
            return Err(refuse_busy(out));
        }
        if self.force {
            clear(out)?;
        }
        // a manifest whose files are to be written is none
        remove(&out.join(MANIFEST))?;
        write_atomically(&out.join(JOB), &to_json(now))?;
        let folder = out.join(TAGS);
        remove_parts(&folder)?;
        make_folder(&folder)?;
        for name in [RECORDS, SKETCHES] {
            let (from, to) = (tags.folder.join(name), folder.join(name));
            // the same bytes: where they cannot be shared they are copied
            let copied = fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop));
            copied.map_err(|error| write_error("write", &to, &error))?;
        }
        let tags = Tags { folder, schema: tags.schema.clone() };
        tags.write(&decided.clustered)?;
        let written = Out { folder: out, request: &now.request, tags: &tags, judge, decided, show: self.show };
        let walk = || Ok(FolderWalk::new(self.folder, &job.request, then));
        written.write(1, self.check, &walk, &manifest_of(now)).map(drop)
    }
}

/// For what asks for no text.
struct NoTexts;

impl Texts for NoTexts {
    fn read(&self, _document: u32, _visit: &mut dyn FnMut(&str)) -> Result<()> {
        Ok(())
    }
}

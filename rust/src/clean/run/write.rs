//! What stays and what goes, as files of lines.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{json, Map, Value};

use super::decide::Decided;
use super::judge::{Judge, STAYS};
use super::line::{id_of, without_cluster, write_kept};
use super::output::{Kind, Lines};
use super::request::Request;
use super::tags::Tags;
use super::walk::Walk;
use crate::clean::duplicates::{rehydrated, ALONE};
use crate::clean::record::Tag;
use crate::error::{Error, Result};
use crate::threads::spawn;

/// Bytes that the line of a removed document is reckoned with beside its text.
const LINE: u64 = 256;

/// A file to write: documents from one to another.
struct Piece {
    kind: Kind,
    number: usize,
    first: u32,
    end: u32,
}

/// What is written, by whom and where.
pub(super) struct Writing<'a> {
    pub folder: &'a Path,
    pub request: &'a Request,
    pub tags: &'a Tags,
    pub judge: &'a Judge,
    pub decided: &'a Decided,
    pub check: &'a (dyn Fn() -> Result<()> + Sync),
}

impl Writing<'_> {
    /// Writes all files on threads, each of which walks through the texts on its own; gives their names in order.
    pub fn run<W: Walk>(&self, threads: usize, walk: &(dyn Fn() -> Result<W> + Sync)) -> Result<Vec<String>> {
        let pieces = self.pieces()?;
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let failure: Mutex<Option<Error>> = Mutex::default();
        let work = || -> Result<()> {
            let mut walk = walk()?;
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.piece(piece, &mut walk, &failed)?;
            }
            Ok(())
        };
        let fail = |error| {
            failed.store(true, Ordering::Relaxed);
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(pieces.len()) {
                if let Err(error) = spawn(scope, || work().unwrap_or_else(fail)) {
                    return fail(error);
                }
            }
            work().unwrap_or_else(fail);
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(pieces.iter().map(|piece| piece.kind.file(piece.number, self.request.compress)).collect()),
        }
    }

    /// Where each file begins and ends; at least one of each kind; none where only tags are wanted.
    fn pieces(&self) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let kinds: &[Kind] = if self.request.tags_only { &[] } else { &[Kind::Text, Kind::Removed] };
        for &kind in kinds {
            let (mut first, mut bytes, mut number) = (0, 0, 0);
            self.tags.each(&mut |document, tag| {
                let size = match kind {
                    Kind::Text => tag.bytes * u64::from(self.copies(document)),
                    Kind::Removed if self.request.keep_removed => tag.bytes + LINE,
                    Kind::Removed => LINE,
                };
                if self.kind(document) != kind {
                    return Ok(());
                }
                if bytes > 0 && bytes + size > self.request.file_bytes {
                    pieces.push(Piece { kind, number, first, end: document });
                    (first, bytes, number) = (document, 0, number + 1);
                }
                bytes += size;
                Ok(())
            })?;
            pieces.push(Piece { kind, number, first, end: self.tags.schema.documents });
        }
        Ok(pieces)
    }

    fn kind(&self, document: u32) -> Kind {
        if self.decided.verdicts[document as usize] == STAYS {
            Kind::Text
        } else {
            Kind::Removed
        }
    }

    fn copies(&self, document: u32) -> u32 {
        copies(self.request, self.decided, document)
    }

    fn piece(&self, piece: &Piece, walk: &mut impl Walk, failed: &AtomicBool) -> Result<()> {
        let path = self.folder.join(piece.kind.file(piece.number, self.request.compress));
        let mut lines = Lines::create(path, self.request.compress)?;
        let mut records = self.tags.records_from(piece.first)?;
        let mut line = Vec::new();
        for document in piece.first..piece.end {
            let tag = records.take()?;
            if self.kind(document) != piece.kind {
                continue;
            }
            if document % 1024 == 0 {
                (self.check)()?;
                if failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            line.clear();
            match piece.kind {
                Kind::Text => self.kept(document, walk, &mut line)?,
                Kind::Removed => self.removed(document, tag, walk, &mut line)?,
            }
            lines.write(&line)?;
        }
        lines.finish()
    }

    fn kept(&self, document: u32, walk: &mut impl Walk, to: &mut Vec<u8>) -> Result<()> {
        let (fields, text) = walk.document(document)?;
        let text = text.ok_or_else(|| {
            Error::data("the text of what was removed is not there").hint("clean again with --keep-removed")
        })?;
        write_kept(text, fields, &more(self.decided, document), to)?;
        let once = to.len();
        for _ in 1..self.copies(document) {
            to.extend_from_within(..once);
        }
        Ok(())
    }

    fn removed(&self, document: u32, tag: &Tag, walk: &mut impl Walk, to: &mut Vec<u8>) -> Result<()> {
        let verdict = self.decided.verdicts[document as usize];
        let reason = &self.judge.reasons[verdict as usize];
        let value = self.judge.first(tag).and_then(|(_, value)| value);
        let (fields, text) = walk.document(document)?;
        let mut said = Map::new();
        said.insert("reason".into(), json!(reason.name));
        if !reason.key.is_empty() {
            said.insert("key".into(), json!(reason.key));
        }
        if let Some(value) = value {
            said.insert("value".into(), json!(value));
        }
        said.insert("language".into(), json!(tag.language()));
        said.insert("source".into(), json!(self.tags.schema.sources[tag.source as usize]));
        said.insert("number".into(), json!(tag.number));
        let head = Value::Object(said).to_string();
        to.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
        if let Some(id) = id_of(fields) {
            to.extend_from_slice(format!(",\"id\":{id}").as_bytes());
        }
        let cluster = more(self.decided, document);
        to.extend_from_slice(cluster.as_bytes());
        if let Some(text) = text.filter(|_| self.request.keep_removed) {
            to.extend_from_slice(b",\"text\":");
            to.extend_from_slice(json!(text).to_string().as_bytes());
            // as where it stays: what an earlier cleaning said of a cluster is said anew
            let fields = without_cluster(fields, &cluster);
            if fields.len() > 2 {
                to.extend_from_slice(b",\"fields\":");
                to.extend_from_slice(fields.as_bytes());
            }
        }
        to.extend_from_slice(b"}\n");
        Ok(())
    }
}

/// How often a document that stays is written.
pub(super) fn copies(request: &Request, decided: &Decided, document: u32) -> u32 {
    if request.rehydrate {
        rehydrated(decided.sizes[document as usize])
    } else {
        1
    }
}

/// What a line of what stays says of its cluster after its own fields.
pub(super) fn more(decided: &Decided, document: u32) -> String {
    match (decided.clustered.of(document), decided.sizes[document as usize]) {
        (ALONE, _) => String::new(),
        (cluster, size) => format!(",\"cluster\":{cluster},\"cluster_size\":{size}"),
    }
}

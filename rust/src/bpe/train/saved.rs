//! The state of a training on disk, from which an interrupted one goes on: the counts, once complete, and the merges.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::count::Counts;
use super::spill::{cannot_write, put_table, Sorted, Writer, COUNTS};
use super::words::Words;
use super::Merge;
use crate::error::{Error, Result};
use crate::lock::Lock;

const MAGIC: &[u8; 8] = b"pylmcnt1";
const INTERVAL: Duration = Duration::from_secs(5);

pub(super) struct Saved {
    folder: PathBuf,
    /// Of the sources and of everything else that the merges depend on.
    fingerprint: String,
    merges: Option<File>,
    written: usize,
    last: Instant,
    /// No other training uses the folder.
    _lock: Lock,
}

impl Saved {
    pub fn open(folder: &Path, fingerprint: String) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
        let Some(lock) = Lock::take(&folder.join("lock"), false)? else {
            return Err(Error::data(format!("another training keeps its state in {}", folder.display()))
                .hint("wait for it to end, or write to another folder"));
        };
        let saved =
            Self { folder: folder.into(), fingerprint, merges: None, written: 0, last: Instant::now(), _lock: lock };
        saved.clean_up();
        saved.merges_kept()?; // before any text is counted for merges that are another's
        Ok(saved)
    }

    /// Removes what a training that was killed left of its counts.
    fn clean_up(&self) {
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(COUNTS) {
                // what cannot be removed is only in the way
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// The first line of the merges: what they were made of and how.
    fn head(&self) -> String {
        format!("pylm-merges 1 {:032x}\n", xxhash_rust::xxh3::xxh3_128(self.fingerprint.as_bytes()))
    }

    fn another(&self) -> Error {
        Error::usage(format!(
            "{} holds the state of another training: other sources, pattern or limits",
            self.folder.display()
        ))
        .hint("finish that one with its own options, or remove the folder")
    }

    /// The lines of merges that are there, behind a head of ours; None where none was written whole.
    fn merges_kept(&self) -> Result<Option<std::io::Split<BufReader<File>>>> {
        let path = self.merges_path();
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => BufReader::new(opened.map_err(|error| Error::io("read", &path, &error))?),
        };
        let mut first = Vec::new();
        file.read_until(b'\n', &mut first).map_err(|error| Error::io("read", &path, &error))?;
        if first == self.head().as_bytes() {
            Ok(Some(file.split(b'\n')))
        } else if first.ends_with(b"\n") {
            Err(self.another())
        } else {
            // a kill or a power loss came before the first line was there
            Ok(None)
        }
    }

    fn counts_path(&self) -> PathBuf {
        self.folder.join("counts")
    }

    fn merges_path(&self) -> PathBuf {
        self.folder.join("merges")
    }

    /// The counts of an interrupted training, if there are any.
    pub fn counts(&self) -> Result<Option<Counts>> {
        let path = self.counts_path();
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| Error::io("read", &path, &error))?,
        };
        let size = file.metadata().map_err(|error| Error::io("read", &path, &error))?.len();
        let damaged = || {
            Error::data(format!("{} is damaged", path.display()))
                .hint(format!("remove {} and train from the start", self.folder.display()))
        };
        let mut file = BufReader::new(file);
        let mut head = [0; 52];
        file.read_exact(&mut head).map_err(|_| damaged())?;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let length = u32::from_le_bytes(head[48..].try_into().expect("four bytes")) as usize;
        if &head[..8] != MAGIC || size != number(40) || length as u64 > size {
            return Err(damaged());
        }
        let mut fingerprint = vec![0; length];
        file.read_exact(&mut fingerprint).map_err(|_| damaged())?;
        if fingerprint != self.fingerprint.as_bytes() {
            return Err(self.another());
        }
        let sorted = Sorted { path: path.clone(), start: (head.len() + length) as u64, records: number(32) };
        Ok(Some(Counts {
            words: Words::File { sorted, _folder: None },
            bytes: number(8),
            pre_tokens: number(16),
            spills: number(24),
        }))
    }

    /// Writes the counts, whole or not at all.
    pub fn save_counts(&mut self, counts: &Counts) -> Result<()> {
        let partial = self.folder.join("counts.partial");
        let mut writer = Writer::new(&partial)?;
        let written = (|| {
            let mut head = [0; 52];
            head[..8].copy_from_slice(MAGIC);
            head[8..16].copy_from_slice(&counts.bytes.to_le_bytes());
            head[16..24].copy_from_slice(&counts.pre_tokens.to_le_bytes());
            head[24..32].copy_from_slice(&counts.spills.to_le_bytes());
            head[48..].copy_from_slice(&(self.fingerprint.len() as u32).to_le_bytes());
            writer.raw(&head)?;
            writer.raw(self.fingerprint.as_bytes())?;
            match &counts.words {
                Words::Table(table) => put_table(table, &mut writer)?,
                Words::File { sorted, .. } => {
                    let mut result = Ok(());
                    sorted.each(&mut |bytes, hash, count| {
                        if result.is_ok() {
                            result = writer.put(bytes, hash, count);
                        }
                    })?;
                    result?;
                }
            }
            let records = writer.records;
            let file = writer.finish()?;
            let failed = |error: std::io::Error| cannot_write(&partial, &error);
            let size = file.metadata().map_err(failed)?.len();
            let mut numbers = records.to_le_bytes().to_vec();
            numbers.extend(size.to_le_bytes());
            std::os::unix::fs::FileExt::write_all_at(&file, &numbers, 32).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            std::fs::rename(&partial, self.counts_path()).map_err(failed)?;
            // the name too is there after a power loss, before merges are that go with it
            File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
        })();
        if written.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
        written
    }

    /// The merges of an interrupted training; those of `before` are not among them.
    pub fn merges(&mut self, before: usize) -> Result<Vec<Merge>> {
        let path = self.merges_path();
        let head = self.head();
        let mut merges = Vec::new();
        let mut kept = 0;
        if let Some(lines) = self.merges_kept()? {
            kept = head.len() as u64;
            // a kill may have torn the last line
            for line in lines {
                let line = line.map_err(|error| Error::io("read", &path, &error))?;
                let Some(merge) = parse(&line, 256 + before + merges.len()) else { break };
                merges.push(merge);
                kept += line.len() as u64 + 1;
            }
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| cannot_write(&path, &error))?;
        // a last line without its end may be a part of a number: it is made again
        let size = file.metadata().map_err(|error| cannot_write(&path, &error))?.len();
        if kept > size {
            let torn = merges.pop().map_or(0, |(left, right)| format!("{left} {right}\n").len() as u64);
            kept -= torn;
        }
        file.set_len(kept).map_err(|error| cannot_write(&path, &error))?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(|error| cannot_write(&path, &error))?;
        if kept == 0 {
            file.write_all(head.as_bytes()).map_err(|error| cannot_write(&path, &error))?;
        }
        self.merges = Some(file);
        self.written = merges.len();
        Ok(merges)
    }

    /// Appends merges now and then, all of them if `now`.
    pub fn save_merges(&mut self, merges: &[Merge], now: bool) -> Result<()> {
        if !now && self.last.elapsed() < INTERVAL {
            return Ok(());
        }
        self.last = Instant::now();
        let path = self.merges_path();
        let Some(file) = &mut self.merges else { return Ok(()) };
        let mut lines = Vec::new();
        for (left, right) in &merges[self.written..] {
            writeln!(lines, "{left} {right}").expect("memory takes what is written");
        }
        file.write_all(&lines).and_then(|()| file.sync_data()).map_err(|error| cannot_write(&path, &error))?;
        self.written = merges.len();
        Ok(())
    }
}

fn parse(line: &[u8], ids: usize) -> Option<Merge> {
    let (left, right) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let (left, right): Merge = (left.parse().ok()?, right.parse().ok()?);
    ((left.max(right) as usize) < ids).then_some((left, right))
}

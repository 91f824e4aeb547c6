//! Documents and sketches that are at hand: in memory, or as one file.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::clusters::Sketched;
use super::settings::Settings;
use super::sketcher::{SetSketcher, Sketcher};
use super::units::fold;
use super::verify::{Sets, Texts};
use crate::clean::words::Cut;
use crate::error::{Error, Result};
use crate::threads;

impl Texts for &[&str] {
    fn read(&self, document: u32, visit: &mut dyn FnMut(&str)) -> Result<()> {
        visit(self[document as usize]);
        Ok(())
    }
}

impl Sets for &[&[u64]] {
    fn read(&self, document: u32, set: &mut Vec<u64>) -> Result<()> {
        set.clear();
        set.extend_from_slice(self[document as usize]);
        Ok(())
    }
}

/// Hashes and sketches in memory.
pub struct Held {
    hashes: Vec<u128>,
    sketches: Vec<u8>,
    sketch_bytes: usize,
}

impl Sketched for Held {
    fn count(&self) -> u32 {
        self.hashes.len() as u32
    }

    fn each(&self, visit: &mut dyn FnMut(u128, &[u8]) -> Result<()>) -> Result<()> {
        self.hashes.iter().enumerate().try_for_each(|(document, hash)| {
            let start = document * self.sketch_bytes;
            visit(*hash, &self.sketches[start..start + self.sketch_bytes])
        })
    }
}

/// Sketches texts, on threads.
pub fn sketched_texts(texts: &[&str], cut: Cut, settings: &Settings, threads: usize) -> Result<Held> {
    let make = || Sketcher::new(settings);
    let sketch_bytes = make().sketch_bytes();
    let (hashes, sketches) = on_threads(texts, sketch_bytes, threads, make, |sketcher, text, sketch| {
        sketcher.sketch(text, cut, sketch);
        sketcher.exact(text)
    })?;
    Ok(Held { hashes, sketches, sketch_bytes })
}

/// Sketches sets of hashes, on threads. None of them counts as a copy of another to the letter.
pub fn sketched_sets(sets: &[&[u64]], threshold: f64, threads: usize) -> Result<Held> {
    let make = || SetSketcher::new(threshold);
    let sketch_bytes = make().sketch_bytes();
    let (_, sketches) = on_threads(sets, sketch_bytes, threads, make, |sketcher, set, sketch| {
        sketcher.begin();
        // numbers of any kind: a sketch asks for hashes whose every bit counts
        for hash in set {
            sketcher.add(fold(hash ^ 0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9));
        }
        sketcher.finish(Cut::Spaced, sketch);
        0
    })?;
    Ok(Held { hashes: (0..sets.len() as u128).collect(), sketches, sketch_bytes })
}

/// Documents that a thread takes at a time.
const TAKEN: usize = 64;

/// What `sketch` returns of each document, and the sketches that it appends, in the documents' order.
fn on_threads<D: Copy + Sync, S>(
    documents: &[D],
    sketch_bytes: usize,
    threads: usize,
    make: impl Fn() -> S + Sync,
    sketch: impl Fn(&mut S, D, &mut Vec<u8>) -> u128 + Sync,
) -> Result<(Vec<u128>, Vec<u8>)> {
    if u32::try_from(documents.len()).is_err() {
        return Err(Error::usage(format!("{} documents are more than can be numbered", documents.len()))
            .hint("compare fewer than 4 billion at a time"));
    }
    let mut hashes = vec![0; documents.len()];
    let mut sketches = vec![0; documents.len() * sketch_bytes];
    let mut rest = sketches.as_mut_slice();
    let tasks = documents.chunks(TAKEN).zip(hashes.chunks_mut(TAKEN)).map(|(documents, hashes)| {
        let (sketches, after) = std::mem::take(&mut rest).split_at_mut(documents.len() * sketch_bytes);
        rest = after;
        (documents, hashes, sketches)
    });
    let tasks = Mutex::new(tasks);
    let work = || {
        let (mut sketcher, mut bytes) = (make(), Vec::with_capacity(sketch_bytes));
        loop {
            let task = tasks.lock().expect("no thread panics").next();
            let Some((documents, hashes, sketches)) = task else { return };
            for (at, document) in documents.iter().enumerate() {
                bytes.clear();
                hashes[at] = sketch(&mut sketcher, *document, &mut bytes);
                sketches[at * sketch_bytes..(at + 1) * sketch_bytes].copy_from_slice(&bytes);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(documents.len().div_ceil(TAKEN)) {
            threads::spawn(scope, work)?;
        }
        work();
        Ok(())
    })?;
    Ok((hashes, sketches))
}

/// Hashes of sixteen bytes, little-endian, each with a sketch behind it.
pub struct SketchFile {
    path: PathBuf,
    sketch_bytes: usize,
    count: u32,
}

impl SketchFile {
    pub fn open(path: &Path, sketch_bytes: usize) -> Result<Self> {
        let size = path.metadata().map_err(|error| Error::io("read", path, &error))?.len();
        let one = 16 + sketch_bytes as u64;
        match u32::try_from(size / one) {
            Ok(count) if size.is_multiple_of(one) => Ok(Self { path: path.into(), sketch_bytes, count }),
            _ => Err(Error::data(format!("{} holds no whole number of sketches", path.display()))
                .hint(format!("each is {one} bytes"))),
        }
    }
}

impl Sketched for SketchFile {
    fn count(&self) -> u32 {
        self.count
    }

    fn each(&self, visit: &mut dyn FnMut(u128, &[u8]) -> Result<()>) -> Result<()> {
        let failed = |error| Error::io("read", &self.path, &error);
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path).map_err(failed)?);
        let mut record = vec![0; 16 + self.sketch_bytes];
        for _ in 0..self.count {
            file.read_exact(&mut record).map_err(failed)?;
            let (hash, sketch) = record.split_first_chunk().expect("sixteen bytes");
            visit(u128::from_le_bytes(*hash), sketch)?;
        }
        Ok(())
    }
}

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::error::{Error, Kind, Result};
use crate::id::Id;
use crate::input::tests::{space_cut, Folder, Random};
use crate::input::{Input, Options, SafeCut, Separator, Side, Validation};
use crate::lock::Lock;

/// Ids are bytes: what was written can be read as text. Fails after `calls` where that is not negative.
pub(super) struct Bytes {
    calls: AtomicI64,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Self { calls: AtomicI64::new(-1) }
    }

    pub(super) fn failing_after(calls: usize) -> Self {
        Self { calls: AtomicI64::new(calls as i64) }
    }

    fn count(&self) -> Result<()> {
        if self.calls.load(Ordering::Relaxed) >= 0 && self.calls.fetch_sub(1, Ordering::Relaxed) <= 0 {
            self.calls.store(0, Ordering::Relaxed);
            return Err(Error::data("stopped on purpose"));
        }
        Ok(())
    }
}

pub(super) const EOT: u32 = 256;

impl TextEncoder for Bytes {
    type Scratch = ();

    fn scratch(&self) {}

    fn encode<T: Id>(&self, text: &[u8], (): &mut (), out: &mut Vec<T>) -> Result<()> {
        out.extend(text.iter().map(|&byte| T::from_u32(byte.into())));
        self.count()
    }

    fn safe_cut(&self) -> Option<SafeCut> {
        Some(space_cut())
    }
}

pub(super) fn request(vocab_size: u32) -> Request {
    Request {
        tokenizer: "bytes".into(),
        vocab_size,
        eot: Some(EOT),
        split: "<|endoftext|>".into(),
        field: "text".into(),
        column: "text".into(),
        invalid: crate::input::Invalid::Error,
        skip_bad: false,
        allow_special: Vec::new(),
        validation: 0.2,
        shard_tokens: 100_000,
        limit: None,
        header: Header::None,
        training: None,
        clean: None,
    }
}

pub(super) struct Bench {
    pub(super) folder: Folder,
    pub(super) input: Input,
    /// Documents in order.
    pub(super) documents: Vec<String>,
}

impl Bench {
    /// Some files with short, long and very long documents; the last one is compressed.
    pub(super) fn new(name: &str, seed: u64) -> Self {
        let folder = Folder::new(name);
        let mut random = Random(seed);
        let mut documents = Vec::new();
        for file in 0..4 {
            let mut whole = Vec::new();
            for number in 0..60 {
                let length = [10, 500, 3000, 200_000][random.below(if number % 20 == 7 { 4 } else { 3 })];
                whole.push(format!("{file} {number} {}", random.text(length).replace("<|end", "")));
            }
            let text = whole.join("<|endoftext|>");
            if file == 3 {
                folder.write("in/3.txt.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
            } else {
                folder.write(&format!("in/{file}.txt"), text);
            }
            documents.extend(whole);
        }
        let options =
            Options { separator: Separator::end_of_text(), safe_cut: Some(space_cut()), ..Options::default() };
        let input = Input::resolve(&[folder.0.join("in").display().to_string()], options).unwrap();
        Self { folder, input, documents }
    }

    pub(super) fn job(&self, request: Request) -> Job {
        Job::plan(&self.input, request, 1.0).unwrap()
    }

    pub(super) fn run(
        &self,
        job: &Job,
        encoder: &Bytes,
        out: &str,
        threads: usize,
        share: Share,
        force: bool,
    ) -> Result<Outcome> {
        let files = || Ok(vec![("tokenizer.json".to_string(), b"{}".to_vec())]);
        let folder = self.folder.0.join(out);
        let task = Task { job, input: &self.input, folder: &folder, threads, share, force, files: &files };
        run(&task, encoder, &mut |_| Ok(()))
    }

    pub(super) fn all(&self, job: &Job, out: &str, threads: usize) -> Manifest {
        let encoder = Bytes::new();
        self.run(job, &encoder, out, threads, ALL, false).unwrap().manifest.unwrap()
    }

    pub(super) fn files(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let read =
            |entry: std::fs::DirEntry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        std::fs::read_dir(self.folder.0.join(out)).unwrap().map(|entry| read(entry.unwrap())).collect()
    }

    /// The documents that the first `count` leave for a side.
    fn expected(&self, side: Side, share: f64, count: usize) -> Vec<&str> {
        let rule = Validation::hash(share);
        self.documents[..count].iter().filter(|text| rule.side(text.as_bytes()) == side).map(String::as_str).collect()
    }
}

pub(super) const ALL: Share = Share { rank: 0, world: 1 };

/// Documents of a split, read by nothing but the files.
pub(super) fn read_split(folder: &Path, split: &str, size: usize, skip: usize) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(split));
    names.retain(|path| path.extension().unwrap() == "bin");
    names.sort();
    let mut ids: Vec<u32> = Vec::new();
    for name in names {
        let bytes = std::fs::read(&name).unwrap();
        let shard: Vec<u32> =
            inspect::widen(if size == 2 { Dtype::Uint16 } else { Dtype::Uint32 }, &bytes[skip..]).collect();
        let index = std::fs::read(name.with_extension("idx")).unwrap();
        let starts: Vec<usize> =
            index.chunks(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap()) as usize).collect();
        assert_eq!((starts[0], *starts.last().unwrap()), (0, shard.len()));
        // every start but the first and the end of a document that goes on follows an end of text
        for start in &starts[1..starts.len() - 1] {
            assert_eq!(shard[start - 1], EOT);
        }
        assert_eq!(
            starts.len() - 1,
            shard.iter().filter(|&&id| id == EOT).count() + usize::from(*shard.last().unwrap() != EOT)
        );
        ids.extend(shard);
    }
    let mut documents: Vec<String> = ids
        .split(|&id| id == EOT)
        .map(|ids| String::from_utf8(ids.iter().map(|&id| id as u8).collect()).unwrap())
        .collect();
    if documents.last().is_some_and(String::is_empty) {
        documents.pop();
    }
    documents
}

#[test]
fn shards_hold_every_document_once_in_order_and_on_its_side() {
    let bench = Bench::new("shards", 20);
    for vocab_size in [EOT + 1, 70_000] {
        let job = bench.job(request(vocab_size));
        assert!(
            job.shards.len() >= 4 && job.units.len() > job.shards.len(),
            "{} {}",
            job.shards.len(),
            job.units.len()
        );
        let out = format!("out{vocab_size}");
        let manifest = bench.all(&job, &out, 2);
        let folder = bench.folder.0.join(&out);
        let size = if vocab_size > 65_536 { 4 } else { 2 };
        assert_eq!(read_split(&folder, "train", size, 0), bench.expected(Side::Train, 0.2, 240));
        assert_eq!(read_split(&folder, "val", size, 0), bench.expected(Side::Validation, 0.2, 240));
        assert_eq!(manifest.splits.train.documents + manifest.splits.val.documents, 240);
        let text: usize = bench.documents.iter().map(String::len).sum();
        assert_eq!(manifest.splits.train.text_bytes + manifest.splits.val.text_bytes, text as u64);
        assert_eq!(manifest.splits.train.tokens + manifest.splits.val.tokens, text as u64 + 240);
        let verified = verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap();
        assert_eq!(verified.problems, []);
        let reader = Reader::open(&folder).unwrap();
        for (number, text) in bench.expected(Side::Train, 0.2, 240).iter().enumerate() {
            let found = reader.document("train", number as u64, 1 << 30).unwrap();
            assert_eq!(found.tokens, text.len() as u64 + 1);
            let ids: Vec<u32> = text.bytes().map(u32::from).chain([EOT]).collect();
            assert_eq!(found.ids, ids);
        }
        let statistics = reader.statistics("train", &mut || Ok(())).unwrap();
        assert_eq!(statistics.counts.iter().sum::<u64>(), manifest.splits.train.tokens);
        assert_eq!(statistics.counts[EOT as usize], manifest.splits.train.documents);
    }
}

#[test]
fn bytes_depend_on_nothing_but_the_job() {
    let bench = Bench::new("same", 21);
    for limit in [None, Some(Limit::Documents(150)), Some(Limit::Tokens(300_001))] {
        let job = bench.job(Request { limit, ..request(EOT + 1) });
        let name = |what: &str| format!("{what}-{}", limit.map_or("none".into(), |limit| format!("{limit:?}")));
        bench.all(&job, &name("one"), 1);
        let expected = bench.files(&name("one"));
        assert!(!expected.contains_key(".parts"));
        for threads in [2, 7] {
            let out = name(&threads.to_string());
            bench.all(&job, &out, threads);
            assert!(bench.files(&out) == expected, "{threads} threads, {limit:?}");
        }
        // ranks one after another, and the last one finishes
        let out = name("ranks");
        for rank in [2, 0, 1] {
            let encoder = Bytes::new();
            let outcome = bench.run(&job, &encoder, &out, 2, Share { rank, world: 3 }, false).unwrap();
            assert_eq!(outcome.manifest.is_some(), outcome.missing == 0);
        }
        assert!(bench.files(&out) == expected, "ranks, {limit:?}");
        // stopped at any call of the encoder, again and again
        let mut random = Random(22);
        for round in 0..6 {
            let out = name(&format!("stopped{round}"));
            let mut attempts = 0;
            loop {
                attempts += 1;
                let encoder = Bytes::failing_after(20 + random.below(300));
                match bench.run(&job, &encoder, &out, 1 + round % 3, ALL, false) {
                    Ok(outcome) => break assert!(outcome.manifest.is_some()),
                    Err(error) => assert_eq!(error.message, "stopped on purpose"),
                }
                assert!(attempts < 300, "what was done is not done again");
            }
            assert!(bench.files(&out) == expected, "after {attempts} attempts, {limit:?}");
        }
    }
}

#[test]
fn a_limit_stops_at_the_document_that_reaches_it() {
    let bench = Bench::new("limit", 23);
    let reach = |count: fn(&str) -> usize, wanted: usize| {
        let mut sum = 0;
        bench
            .documents
            .iter()
            .position(|text| {
                sum += count(text);
                sum >= wanted
            })
            .map_or(240, |place| place + 1)
    };
    for wanted in [1, 5000, 100_000, 700_000, 1 << 30] {
        let limits = [
            (Limit::Documents(wanted as u64 / 1000 + 1), (wanted / 1000 + 1).min(240)),
            (Limit::Bytes(wanted as u64), reach(str::len, wanted)),
            (Limit::Tokens(wanted as u64), reach(|text| text.len() + 1, wanted)),
        ];
        for (limit, count) in limits {
            let job = bench.job(Request { limit: Some(limit), ..request(EOT + 1) });
            let out = format!("out-{limit:?}");
            bench.all(&job, &out, 2);
            let folder = bench.folder.0.join(&out);
            for (name, side) in [("train", Side::Train), ("val", Side::Validation)] {
                let (mut read, mut expected) = (read_split(&folder, name, 2, 0), bench.expected(side, 0.2, count));
                // a document of many blocks may be cut between them: what is there is its beginning
                let last = bench.documents[count - 1].as_str();
                if expected.last() == Some(&last) {
                    let found = read.pop().unwrap();
                    assert!(last.starts_with(&found), "{limit:?}");
                    assert!(found.len() == last.len() || last.len() > 10_000, "{limit:?}");
                    expected.pop();
                }
                assert_eq!(read, expected, "{limit:?} {name}");
            }
            assert_eq!(verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap().problems, [], "{limit:?}");
        }
    }
}

#[test]
fn files_that_cannot_be_made_leave_no_manifest_and_a_rerun_finishes() {
    let bench = Bench::new("beside", 3);
    let job = bench.job(request(EOT + 1));
    let folder = bench.folder.0.join("out");
    let encoder = Bytes::new();
    let files = || Err(Error::tokenizer("it cannot be written"));
    let task =
        Task { job: &job, input: &bench.input, folder: &folder, threads: 2, share: ALL, force: false, files: &files };
    assert_eq!(run(&task, &encoder, &mut |_| Ok(())).unwrap_err().message, "it cannot be written");
    assert!(!folder.join("manifest.json").exists());
    bench.all(&job, "out", 2);
    assert_eq!(std::fs::read(folder.join("tokenizer.json")).unwrap(), b"{}");
}

#[test]
fn llmc_files_begin_with_its_header() {
    let bench = Bench::new("llmc", 24);
    for (vocab_size, magic, version) in [(EOT + 1, 20_240_520, 1), (70_000, 20_240_801, 7)] {
        let job =
            bench.job(Request { header: Header::Llmc, limit: Some(Limit::Documents(100)), ..request(vocab_size) });
        let out = format!("out{vocab_size}");
        let manifest = bench.all(&job, &out, 2);
        let folder = bench.folder.0.join(&out);
        for shard in manifest.splits.train.shards.iter().chain(&manifest.splits.val.shards) {
            let bytes = std::fs::read(folder.join(&shard.file)).unwrap();
            let word = |place: usize| u32::from_le_bytes(bytes[4 * place..4 * place + 4].try_into().unwrap());
            assert_eq!([word(0), word(1), word(2)], [magic, version, shard.tokens as u32]);
            assert_eq!(bytes.len() as u64, 1024 + shard.tokens * u64::from(word(1).div_ceil(4) * 2));
        }
        let size = if vocab_size > 65_536 { 4 } else { 2 };
        let read = read_split(&folder, "train", size, 1024).len() + read_split(&folder, "val", size, 1024).len();
        assert_eq!(read, 100);
        assert_eq!(verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap().problems, []);
    }
}

#[test]
fn too_few_documents_give_validation_from_blocks() {
    let folder = Folder::new("few");
    let text = Random(25).text(300_000).replace("<|end", "");
    let source = folder.write("a.txt", &text);
    let options = Options { safe_cut: Some(space_cut()), ..Options::default() };
    let input = Input::resolve(&[source], options).unwrap();
    let bench = Bench { folder, input, documents: vec![text.clone()] };
    let job = bench.job(Request { validation: 0.1, ..request(EOT + 1) });
    assert!(matches!(job.settings.rule, Validation::Blocks { .. }), "{:?}", job.settings.rule);
    let manifest = bench.all(&job, "out", 2);
    let share = manifest.splits.val.text_bytes as f64 / text.len() as f64;
    assert!((0.08..0.12).contains(&share), "{share}");
    let out = bench.folder.0.join("out");
    let (train, val) = (read_split(&out, "train", 2, 0), read_split(&out, "val", 2, 0));
    // the text is the two shuffled together, beginning with train
    let (mut rest, mut train, mut val) = (text.as_str(), train.into_iter(), val.into_iter());
    while !rest.is_empty() {
        rest = rest.strip_prefix(train.next().unwrap().as_str()).unwrap();
        if let Some(block) = val.next() {
            rest = rest.strip_prefix(block.as_str()).unwrap();
        }
    }
}

#[test]
fn a_folder_of_another_run_is_refused_and_replaced_only_by_force() {
    let bench = Bench::new("refuse", 26);
    let job = bench.job(request(EOT + 1));
    bench.all(&job, "out", 2);
    let before = bench.files("out");
    let encoder = Bytes::new();
    let again = bench.run(&job, &encoder, "out", 2, ALL, false).unwrap();
    assert!(again.found && bench.files("out") == before);
    let others = [
        (Request { tokenizer: "another".into(), ..request(EOT + 1) }, "another tokenizer"),
        (Request { validation: 0.1, ..request(EOT + 1) }, "validation 0.2 instead of 0.1"),
        (Request { shard_tokens: 50_000, ..request(EOT + 1) }, "shard-tokens 100000 instead of 50000"),
    ];
    for (other, said) in others {
        let other = bench.job(other);
        let error = bench.run(&other, &encoder, "out", 2, ALL, false).unwrap_err();
        assert!(error.message.contains(said), "{}", error.message);
        assert!(error.hint.unwrap().contains("--force"));
        assert!(bench.files("out") == before);
    }
    let other = bench.job(Request { validation: 0.0, ..request(EOT + 1) });
    let outcome = bench.run(&other, &encoder, "out", 2, ALL, true).unwrap();
    assert!(outcome.replaced.unwrap().contains("shard files"));
    assert!(!bench.files("out").contains_key("val_00000.bin"));
    bench.folder.write("strange/train_00000.bin", "theirs");
    let error = bench.run(&job, &encoder, "strange", 2, ALL, false).unwrap_err();
    assert!(error.message.contains("a shard file that no job of ours wrote"), "{}", error.message);
    assert_eq!(bench.files("strange").len(), 1);
}

#[test]
fn a_second_writer_of_a_rank_is_refused() {
    let bench = Bench::new("lock", 27);
    let job = bench.job(request(EOT + 1));
    let parts = bench.folder.0.join("out").join(crate::files::PARTS);
    std::fs::create_dir_all(&parts).unwrap();
    let lock = Lock::take(&parts.join("rank_0.lock"), false).unwrap();
    assert!(lock.is_some());
    let encoder = Bytes::new();
    let error = bench.run(&job, &encoder, "out", 2, ALL, false).unwrap_err();
    assert!(error.message.contains("another process is writing rank 0"), "{}", error.message);
    drop(lock);
    bench.run(&job, &encoder, "out", 2, ALL, false).unwrap();
}

#[test]
fn damage_anywhere_is_found() {
    let bench = Bench::new("damage", 28);
    for header in [Header::None, Header::Llmc] {
        let job = bench.job(Request { header, ..request(EOT + 1) });
        let out = format!("out{header:?}");
        bench.all(&job, &out, 2);
        let folder = bench.folder.0.join(&out);
        let mut random = Random(29);
        let files = bench.files(&out);
        for (name, bytes) in files.iter().filter(|(name, _)| record::is_shard_file(name)) {
            for _ in 0..8 {
                let place = random.below(bytes.len());
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << random.below(8);
                std::fs::write(folder.join(name), &flipped).unwrap();
                let problems = verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap().problems;
                assert!(problems.iter().any(|problem| problem.file == *name), "{name} byte {place}");
            }
            std::fs::write(folder.join(name), &bytes[..random.below(bytes.len())]).unwrap();
            assert!(verify(&folder, &Lengths::default(), &mut |_, _| Ok(()))
                .unwrap()
                .problems
                .iter()
                .any(|problem| problem.file == *name));
            std::fs::remove_file(folder.join(name)).unwrap();
            let problems = verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap().problems;
            assert_eq!(problems[0].what, "the file is missing");
            // a run of the same job mends it
            let encoder = Bytes::new();
            assert!(!bench.run(&job, &encoder, &out, 2, ALL, false).unwrap().found);
            assert!(bench.files(&out) == files, "{name}");
        }
        for _ in 0..300 {
            let mut manifest = files["manifest.json"].clone();
            let place = random.below(manifest.len());
            manifest[place] = random.next() as u8;
            std::fs::write(folder.join("manifest.json"), &manifest).unwrap();
            // whatever it says now, it is told in words
            let _ = verify(&folder, &Lengths::default(), &mut |_, _| Ok(()));
            let _ = Reader::open(&folder).and_then(|reader| reader.document("train", 3, 10));
        }
    }
}

#[test]
fn limits_and_counts_are_read_as_people_write_them() {
    let limits = [
        ("10000docs", Limit::Documents(10_000)),
        ("1GB", Limit::Bytes(1_000_000_000)),
        ("1.5 MiB", Limit::Bytes(1_572_864)),
        ("100Mtok", Limit::Tokens(100_000_000)),
        ("2k tokens", Limit::Tokens(2000)),
        ("1_000 documents", Limit::Documents(1000)),
    ];
    for (text, limit) in limits {
        assert_eq!(Limit::parse(text).unwrap(), limit, "{text}");
    }
    for text in ["", "10", "10 apples", "docs", "0docs", "1e9B", "-1B", "1.2.3B", "ücks"] {
        assert_eq!(Limit::parse(text).unwrap_err().kind, Kind::Usage, "{text}");
    }
    assert_eq!(parse_count("100M").unwrap(), 100_000_000);
    assert_eq!(parse_count("18446744073709551615").unwrap(), u64::MAX);
}

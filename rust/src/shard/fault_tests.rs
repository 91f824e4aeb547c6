//! Kills, power losses, ranks that meet, and what shards cannot hold.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::tests::{request, Bench, Bytes, ALL, EOT};
use super::*;
use crate::error::Kind;
use crate::input::tests::{space_cut, Folder, Random};
use crate::input::{Input, Options};
use crate::lock::Lock;

const RANKS: usize = 4;

/// Runs the ranks of one job at once, some of them twice, as threads: their processes have one number.
fn ranks_at_once(bench: &Bench, job: &Job, out: &str) {
    std::thread::scope(|scope| {
        for rank in 0..RANKS {
            scope.spawn(move || {
                for _ in 0..=(rank % 2) {
                    let share = Share { rank, world: RANKS };
                    bench.run(job, &Bytes::new(), out, 1, share, false).unwrap();
                }
            });
        }
    });
}

#[test]
fn ranks_that_begin_and_finish_at_once_do_not_take_each_others_files() {
    let bench = Bench::new("at-once", 40);
    for limit in [None, Some(Limit::Documents(40))] {
        let job = bench.job(Request { limit, ..request(EOT + 1) });
        let whole = format!("whole{}", limit.is_some());
        bench.all(&job, &whole, 1);
        let expected = bench.files(&whole);
        for round in 0..6 {
            let out = format!("{whole}-{round}");
            ranks_at_once(&bench, &job, &out);
            // one that was left with shards of others to come finds them now
            bench.all(&job, &out, 1);
            let found = bench.files(&out);
            let (names, wanted): (Vec<_>, Vec<_>) = (found.keys().collect(), expected.keys().collect());
            assert_eq!(names, wanted, "round {round}, {limit:?}");
            assert!(found == expected, "round {round}, {limit:?}");
        }
    }
}

#[test]
fn a_lock_whose_file_is_removed_keeps_others_out() {
    let folder = Folder::new("lock-file");
    let path = folder.0.join("lock");
    let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let lock = Lock::take(&path, true).unwrap().unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    lock.remove();
                }
            });
        }
    });
    assert_eq!(most.into_inner(), 1);
    assert!(!path.exists());
}

#[test]
fn a_job_that_a_power_loss_tore_counts_as_absent_until_a_shard_is_complete() {
    let bench = Bench::new("torn", 41);
    let job = bench.job(request(EOT + 1));
    bench.all(&job, "whole", 2);
    let expected = bench.files("whole");
    for torn in ["", "{\"version\": 1, \"sett", "\0\0\0\0"] {
        let out = format!("torn{}", torn.len());
        // stopped in the middle of the first shard; what another job began would look the same
        let stopped = bench.run(&job, &Bytes::failing_after(5), &out, 1, ALL, false);
        assert!(stopped.is_err());
        bench.folder.write(&format!("{out}/job.json"), torn);
        bench.all(&job, &out, 2);
        assert!(bench.files(&out) == expected, "{torn:?}");
    }
    bench.folder.write("whole/job.json", "{");
    let error = bench.run(&job, &Bytes::new(), "whole", 1, ALL, false).unwrap_err();
    assert!(error.message.contains("job.json is damaged"), "{}", error.message);
    // complete and not yet finished
    let share = Share { rank: 0, world: 2 };
    bench.run(&job, &Bytes::new(), "half", 1, share, false).unwrap();
    bench.folder.write("half/job.json", "{");
    let error = bench.run(&job, &Bytes::new(), "half", 1, share, false).unwrap_err();
    assert!(error.message.contains("job.json is damaged") && error.hint.unwrap().contains("--force"));
}

#[test]
fn parts_without_a_job_are_not_taken_for_this_jobs() {
    let bench = Bench::new("orphans", 42);
    let other = bench.job(Request { validation: 0.5, ..request(EOT + 1) });
    let job = bench.job(request(EOT + 1));
    bench.all(&job, "whole", 2);
    assert!(bench.run(&other, &Bytes::failing_after(150), "out", 1, ALL, false).is_err());
    std::fs::remove_file(bench.folder.0.join("out/job.json")).unwrap();
    for entry in std::fs::read_dir(bench.folder.0.join("out")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|suffix| suffix == "bin" || suffix == "idx") {
            std::fs::remove_file(path).unwrap();
        }
    }
    bench.all(&job, "out", 2);
    assert!(bench.files("out") == bench.files("whole"));
}

#[test]
fn a_damaged_record_costs_time_and_nothing_else() {
    let bench = Bench::new("record", 43);
    let job = bench.job(request(EOT + 1));
    bench.all(&job, "whole", 2);
    let expected = bench.files("whole");
    let wrong = [
        ("/units", 999),
        ("/halves/0/tokens", u64::MAX),
        ("/halves/1/entries", u64::MAX / 8),
        ("/halves/0/open_start", 1 << 55),
        ("/log_entries", u64::MAX / 16 + 1),
        ("/replaced", u64::MAX),
        ("", 0),
    ];
    for (place, (field, value)) in wrong.into_iter().enumerate() {
        let mut damaged = 0;
        for calls in [60, 100] {
            let out = format!("out{place}-{calls}");
            assert!(bench.run(&job, &Bytes::failing_after(calls), &out, 1, ALL, false).is_err());
            for shard in 0..job.shards.len() {
                let path = bench.folder.0.join(&out).join(format!(".parts/{shard:05}.json"));
                let Ok(bytes) = std::fs::read(&path) else { continue };
                let mut record: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                *record.pointer_mut(field).unwrap() = value.into();
                std::fs::write(&path, record.to_string()).unwrap();
                damaged += 1;
            }
            bench.all(&job, &out, 2);
            assert!(bench.files(&out) == expected, "{field} after {calls}");
        }
        assert!(damaged > 0, "{field}");
    }
}

#[test]
fn a_log_of_documents_that_a_power_loss_took_is_written_anew() {
    let bench = Bench::new("log", 44);
    let mut torn = 0;
    for wanted in [30, 60, 90, 150, 200] {
        let job = bench.job(Request { limit: Some(Limit::Documents(wanted)), ..request(EOT + 1) });
        bench.all(&job, &format!("whole{wanted}"), 2);
        for calls in [40, 70, 110, 160] {
            let out = format!("out{wanted}-{calls}");
            if bench.run(&job, &Bytes::failing_after(calls), &out, 1, ALL, false).is_ok() {
                continue;
            }
            for shard in 0..job.shards.len() {
                let names = record::Names { folder: &bench.folder.0.join(&out), shard };
                let entries = record::record(&names, &job).filter(|record| !record.complete).map(|it| it.log_entries);
                if entries.is_some_and(|entries| entries > 0) {
                    // as long as it was: a file whose end never reached the disk
                    let length = std::fs::metadata(names.log()).unwrap().len() as usize;
                    std::fs::write(names.log(), vec![0; length]).unwrap();
                    torn += 1;
                }
            }
            bench.all(&job, &out, 2);
            assert!(bench.files(&out) == bench.files(&format!("whole{wanted}")), "{wanted} after {calls}");
        }
    }
    assert!(torn > 3, "{torn}");
}

#[test]
fn a_damaged_log_of_a_complete_shard_is_noticed_before_it_decides_where_to_cut() {
    let bench = Bench::new("cut", 45);
    let job = bench.job(Request { limit: Some(Limit::Documents(30)), ..request(EOT + 1) });
    bench.all(&job, "whole", 1);
    let files = || Err(crate::error::Error::tokenizer("no tokenizer yet"));
    let folder = bench.folder.0.join("out");
    let encoder = Bytes::new();
    let task =
        Task { job: &job, input: &bench.input, folder: &folder, threads: 1, share: ALL, force: false, files: &files };
    // encodes all that is wanted, and does not finish
    assert!(run(&task, &encoder, &mut |_| Ok(())).is_err());
    let mut damaged = 0;
    for shard in 0..job.shards.len() {
        let names = record::Names { folder: &folder, shard };
        if record::record(&names, &job).is_some_and(|record| record.complete) {
            let mut log = std::fs::read(names.log()).unwrap();
            log[3] ^= 1;
            std::fs::write(names.log(), log).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let error = bench.run(&job, &encoder, "out", 1, ALL, false).unwrap_err();
    assert!(error.message.contains(".docs is damaged"), "{}", error.message);
    bench.all(&job, "out", 1);
    assert!(bench.files("out") == bench.files("whole"));
}

#[test]
fn what_kills_left_is_cleaned_up_by_the_next_writer_that_is_alone() {
    let bench = Bench::new("litter", 46);
    let job = bench.job(request(EOT + 1));
    let litter = [
        ".parts.tmp11/00000.json",
        "job.tmp123",
        "tokenizer.tmp0f3a",
        "tokenizer_config.tmp77",
        "manifest.tmp42",
        ".parts/00001.tmp9",
    ];
    let theirs = ["notes.tmp12", "tokenizer.tmpl", "job.tmp"];
    let there = |name: &str| bench.folder.0.join("out").join(name).exists();
    let spill = || litter.iter().chain(&theirs).for_each(|name| drop(bench.folder.write(&format!("out/{name}"), "x")));
    spill();
    // another rank is alive: these may be its own
    let other = Lock::take(&bench.folder.0.join("out/.parts/rank_1.lock"), false).unwrap();
    let share = Share { rank: 0, world: 2 };
    assert!(bench.run(&job, &Bytes::new(), "out", 2, share, false).unwrap().manifest.is_none());
    // but for the parts: there was no job that they could belong to
    assert!(litter[..5].iter().all(|name| there(name)));
    drop(other);
    let share = Share { rank: 1, world: 2 };
    assert!(bench.run(&job, &Bytes::new(), "out", 2, share, false).unwrap().manifest.is_some());
    assert!(!litter.iter().any(|name| there(name)) && theirs.iter().all(|name| there(name)));
    // a kill between the manifest and the end of finishing
    spill();
    bench.folder.write("out/.writing.lock", "");
    assert!(bench.run(&job, &Bytes::new(), "out", 2, ALL, false).unwrap().found);
    assert!(!litter.iter().any(|name| there(name)) && theirs.iter().all(|name| there(name)));
    assert!(!there(".parts") && !there(".writing.lock"));
    bench.all(&job, "whole", 1);
    for name in theirs {
        std::fs::remove_file(bench.folder.0.join("out").join(name)).unwrap();
    }
    assert!(bench.files("out") == bench.files("whole"));
}

#[test]
fn force_does_not_replace_what_another_process_writes() {
    let bench = Bench::new("force", 47);
    let job = bench.job(request(EOT + 1));
    let share = Share { rank: 0, world: 2 };
    bench.run(&job, &Bytes::new(), "out", 1, share, false).unwrap();
    let other = Lock::take(&bench.folder.0.join("out/.parts/rank_1.lock"), false).unwrap();
    let error = bench.run(&job, &Bytes::new(), "out", 1, ALL, true).unwrap_err();
    assert!(error.message.contains("other processes are writing"), "{}", error.message);
    drop(other);
    bench.run(&job, &Bytes::new(), "out", 1, ALL, true).unwrap();
}

#[test]
fn llmc_headers_count_what_they_can_and_no_more() {
    for dtype in [Dtype::Uint16, Dtype::Uint32] {
        let most = writer::llmc_header(dtype, (1 << 31) - 1).unwrap();
        assert_eq!(i32::from_le_bytes(most[8..12].try_into().unwrap()), i32::MAX);
        for tokens in [1 << 31, 1 << 32, (1 << 32) + 5, u64::MAX] {
            assert!(writer::llmc_header(dtype, tokens).is_none(), "{tokens}");
        }
    }
    // a compressed file is one shard, whatever is asked for
    let folder = Folder::new("llmc-most");
    let text = Random(48).text(writer::LLMC_MOST as usize * 5 / 4).replace("<|end", "");
    let source = folder.write("a.txt.zst", zstd::encode_all(text.as_bytes(), 1).unwrap());
    let input = Input::resolve(&[source], Options::default()).unwrap();
    let bench = Bench { folder, input, documents: vec![text] };
    for header in [Header::Llmc, Header::None] {
        let job = bench.job(Request { validation: 0.0, header, ..request(EOT + 1) });
        let out = format!("out{header:?}");
        let outcome = bench.run(&job, &Bytes::new(), &out, 2, ALL, false);
        match header {
            Header::None => assert_eq!(outcome.unwrap().manifest.unwrap().splits.train.shards.len(), 1),
            Header::Llmc => {
                let error = outcome.unwrap_err();
                assert!(error.message.contains("the most that llm.c's header can count"), "{}", error.message);
                assert!(error.hint.unwrap().contains("decompress a compressed file"));
                assert!(!bench.folder.0.join(out).join("manifest.json").exists());
            }
        }
    }
}

#[test]
fn validation_is_cut_into_shards_that_llmc_headers_can_count() {
    let folder = Folder::new("llmc-val");
    let mut random = Random(49);
    for name in ["a.txt", "b.txt", "c.txt"] {
        let documents: Vec<String> = (0..100).map(|_| random.text(6600).replace("<|end", "")).collect();
        folder.write(&format!("in/{name}"), documents.join("<|endoftext|>"));
    }
    let source = folder.0.join("in").display().to_string();
    let options = Options { safe_cut: Some(space_cut()), ..Options::default() };
    let input = Input::resolve(&[source], options).unwrap();
    let bench = Bench { folder, input, documents: Vec::new() };
    let wanted = Request { header: Header::Llmc, validation: 0.6, shard_tokens: 650_000, ..request(EOT + 1) };
    let job = bench.job(wanted);
    let manifest = bench.all(&job, "out", 2);
    let val = &manifest.splits.val;
    assert!(val.shards.len() > 1 && val.tokens > writer::LLMC_MOST, "{} in {}", val.tokens, val.shards.len());
    assert!(val.shards.iter().all(|shard| shard.tokens <= writer::LLMC_MOST));
    let folder = bench.folder.0.join("out");
    assert_eq!(verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap().problems, []);
    // a manifest and a header that agree on a value that wrapped are not sound
    let path = folder.join("manifest.json");
    let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let tokens = &mut value["splits"]["val"]["shards"][0]["tokens"];
    *tokens = (tokens.as_u64().unwrap() + (1 << 32)).into();
    std::fs::write(&path, value.to_string()).unwrap();
    let problems = verify(&folder, &Lengths::default(), &mut |_, _| Ok(())).unwrap().problems;
    assert!(problems.iter().any(|problem| problem.what.contains("do not belong together")), "{problems:?}");
}

#[test]
fn shares_and_sizes_that_cannot_be_are_refused_in_words() {
    for (rank, world) in [(-1, 2), (2, 2), (0, 0), (0, -3), (i64::MIN, i64::MAX)] {
        let error = Share::new(rank, world).unwrap_err();
        assert_eq!(
            (error.kind, error.message),
            (Kind::Usage, format!("there is no rank {rank} in a world of {world}"))
        );
    }
    let bench = Bench::new("sizes", 50);
    let error = Job::plan(&bench.input, Request { shard_tokens: 300, ..request(EOT + 1) }, 4.0).unwrap_err();
    assert!(error.message.starts_with("--shard-tokens 300 is too few"), "{}", error.message);
    assert_eq!(
        (error.kind, error.hint.unwrap().as_str()),
        (Kind::Usage, "--shard-tokens 1k is the least for this text")
    );
    Job::plan(&bench.input, Request { shard_tokens: 1000, ..request(EOT + 1) }, 4.0).unwrap();
}

#[test]
fn sources_named_twice_and_options_for_none_are_said() {
    let bench = Bench::new("named", 51);
    let source = bench.folder.0.join("in/0.txt").display().to_string();
    let folder = bench.folder.0.join("in").display().to_string();
    let input = Input::resolve(&[source.clone(), folder], Options::default()).unwrap();
    assert_eq!((input.files.len(), input.repeated.len()), (4, 1));
    for (options, said) in [
        (Options { field: "body".into(), ..Options::default() }, "--field body is for jsonl, and no source is jsonl"),
        (Options { column: "b".into(), ..Options::default() }, "--column b is for parquet, and no source is parquet"),
    ] {
        let error = Input::resolve(std::slice::from_ref(&source), options).err().unwrap();
        assert_eq!((error.kind, error.message.as_str()), (Kind::Usage, said));
    }
}

#[test]
fn a_source_that_was_only_touched_is_the_same_where_its_fingerprint_is_of_every_byte() {
    let folder = Folder::new("touched");
    let planned = |size: usize, seconds: u64| {
        let path = folder.write("a.txt", "words ".repeat(size / 6));
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        let input = Input::resolve(&[path], Options::default()).unwrap();
        Job::plan(&input, request(EOT + 1), 1.0).unwrap()
    };
    let (small, large) = (100_000, 600_000);
    let (before, after) = (planned(small, 1_000_000), planned(small, 2_000_000));
    assert_ne!(before, after);
    assert_eq!(after.difference(&before), None);
    let said = planned(large, 2_000_000).difference(&planned(large, 1_000_000)).unwrap();
    assert!(said.ends_with("a.txt, whose time has changed since"), "{said}");
    let said = planned(small, 1_000_000).difference(&planned(small + 6, 1_000_000)).unwrap();
    assert!(said.starts_with("from an older ") && said.ends_with("a.txt"), "{said}");
    let other = Job { bytes_per_token: 9.0, ..planned(small, 3_000_000) };
    assert_eq!(other.difference(&before).unwrap(), "by another version of pylm");
}

//! The trainer against a BPE so plain that it can be read.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use std::path::PathBuf;

use super::*;
use crate::bpe::alphabet::ORDER;

/// Counts every pair anew before each merge.
fn plain(
    words: &BTreeMap<Vec<u8>, u64>,
    goal: usize,
    min_frequency: u64,
    longest: usize,
    before: &[Merge],
) -> Vec<Merge> {
    let mut words: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, &count)| (word.iter().map(|&byte| u32::from(ORDER[byte as usize])).collect(), count))
        .collect();
    let mut lengths = vec![1; 256];
    let mut merges = Vec::new();
    while merges.len() < goal {
        let mut counts: HashMap<Merge, u64> = HashMap::new();
        for (word, count) in &words {
            for pair in word.windows(2) {
                let length = lengths[pair[0] as usize] + lengths[pair[1] as usize];
                if length == 2 || length < longest {
                    *counts.entry((pair[0], pair[1])).or_default() += count;
                }
            }
        }
        let best = match before.get(merges.len()) {
            Some(&merge) => merge,
            None => match counts.into_iter().max_by_key(|&(pair, count)| (count, std::cmp::Reverse(pair))) {
                Some((pair, count)) if count >= min_frequency.max(1) => pair,
                _ => break,
            },
        };
        lengths.push(lengths[best.0 as usize] + lengths[best.1 as usize]);
        let new = 256 + merges.len() as u32;
        merges.push(best);
        for (word, _) in &mut words {
            let mut merged = Vec::new();
            let mut at = 0;
            while at < word.len() {
                if word[at..].starts_with(&[best.0, best.1]) {
                    merged.push(new);
                    at += 2;
                } else {
                    merged.push(word[at]);
                    at += 1;
                }
            }
            *word = merged;
        }
    }
    merges
}

/// Texts that are handed out one by one.
struct Listed<'a>(Mutex<Vec<&'a [u8]>>);

impl Texts for Listed<'_> {
    fn next(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let text = self.0.lock().unwrap().pop();
        text.map(visit).map_or(Ok(false), |()| Ok(true))
    }
}

/// Nobody may look at these.
struct Unread;

impl Texts for Unread {
    fn next(&self, _: &mut dyn FnMut(&[u8])) -> Result<bool> {
        panic!("text was read")
    }
}

/// A generator that is the same everywhere: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Words over an alphabet of so few characters that ties and runs abound.
fn random_text(random: &mut Random, words: usize, alphabet: &[&str], longest: u64) -> String {
    let mut text = String::new();
    for _ in 0..words {
        for _ in 0..=random.below(longest) {
            text.push_str(alphabet[random.below(alphabet.len() as u64) as usize]);
        }
        text.push(if random.below(9) == 0 { '\n' } else { ' ' });
    }
    text
}

fn words_of(texts: &[&[u8]], pattern: &Pattern) -> BTreeMap<Vec<u8>, u64> {
    let mut words = BTreeMap::new();
    let mut ends = Vec::new();
    for text in texts {
        let (mut at, mut start) = (0, 0);
        while at < text.len() {
            let next = pattern.scan(text, at, &mut ends).unwrap();
            for &end in &ends {
                let end = at + end as usize;
                *words.entry(text[start..end].to_vec()).or_default() += 1;
                start = end;
            }
            at = next;
        }
    }
    words
}

fn listed<'a>(texts: &[&'a [u8]]) -> Listed<'a> {
    Listed(Mutex::new(texts.to_vec()))
}

fn run(texts: &[&[u8]], settings: &Settings) -> Result<Trained> {
    train(&listed(texts), &Pattern::new("gpt2").unwrap(), settings, &Unwatched)
}

fn compare(text: &str, settings: &Settings) {
    let pattern = Pattern::new("gpt2").unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive('\n').map(str::as_bytes).collect();
    let goal = settings.vocab_size - 256 - settings.specials;
    let longest = settings.max_token_length.unwrap_or(usize::MAX);
    let wanted = plain(&words_of(&lines, &pattern), goal, settings.min_frequency, longest, &settings.before);
    for threads in [1, 2, 7] {
        let settings = Settings { threads, allow_fewer: true, ..settings.clone() };
        let trained = run(&lines, &settings).unwrap();
        assert_eq!(trained.merges, wanted, "{threads} threads, {settings:?}");
        assert_eq!(trained.exhausted, wanted.len() < goal);
        let mut reversed = lines.clone();
        reversed.reverse();
        assert_eq!(run(&reversed, &settings).unwrap().merges, wanted);
    }
}

const ALPHABETS: [&[&str]; 4] = [
    &["a", "b"],
    &["a", "b", "c", "d", "e", "f", "g", "h"],
    &["é", "日", "本", "я", "x"],
    &["a", "0", "!", "ß", "\u{1f600}", "\t"],
];

#[test]
fn merges_are_those_of_the_plain_algorithm() {
    let mut random = Random(1);
    for alphabet in ALPHABETS {
        for (words, longest, vocab_size) in [(3, 4, 300), (40, 6, 330), (400, 12, 400), (1500, 30, 500)] {
            let text = random_text(&mut random, words, alphabet, longest);
            compare(&text, &Settings::new(vocab_size));
        }
    }
}

#[test]
fn limits_are_those_of_the_plain_algorithm() {
    let mut random = Random(2);
    for alphabet in ALPHABETS {
        let text = random_text(&mut random, 500, alphabet, 14);
        for max_token_length in 1..=8 {
            compare(&text, &Settings { max_token_length: Some(max_token_length), ..Settings::new(420) });
        }
        for min_frequency in [1, 2, 5, 40] {
            compare(&text, &Settings { min_frequency, specials: 3, ..Settings::new(900) });
        }
    }
}

#[test]
fn runs_of_one_token_are_merged_from_the_left() {
    let texts: Vec<String> = (1..40).map(|length| "a".repeat(length) + "\n").collect();
    compare(&texts.concat(), &Settings::new(300));
    let texts: Vec<String> =
        (1..40).map(|length| "ab".repeat(length) + "\n" + &"ba".repeat(length / 2) + "b\n").collect();
    compare(&texts.concat(), &Settings::new(320));
}

/// Thresholds are lowered in steps: few merges of great counts, then very many of small ones.
#[test]
fn a_threshold_that_is_lowered_changes_nothing() {
    let mut random = Random(3);
    let mut text = "the cat and the dog ".repeat(3000);
    text += &random_text(&mut random, 600, &["p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z", "o"], 9);
    compare(&text, &Settings::new(1200));
}

#[test]
fn training_goes_on_from_merges_made_before() {
    let mut random = Random(4);
    let first = random_text(&mut random, 300, ALPHABETS[1], 9);
    let second = random_text(&mut random, 300, ALPHABETS[1], 9);
    let before = run(&[first.as_bytes()], &Settings::new(400)).unwrap().merges;
    compare(&second, &Settings { before: before.clone(), ..Settings::new(450) });
    // on the same text: as if it had never stopped
    let whole = run(&[first.as_bytes()], &Settings::new(500)).unwrap().merges;
    assert_eq!(run(&[first.as_bytes()], &Settings { before, ..Settings::new(500) }).unwrap().merges, whole);
}

#[test]
fn bad_settings_and_texts_are_named() {
    let said = |texts: &[&[u8]], settings: Settings| run(texts, &settings).unwrap_err().to_string();
    let text: &[u8] = b"hello there";
    assert_eq!(
        said(&[text], Settings { specials: 2, ..Settings::new(257) }),
        "a vocabulary of 257 cannot hold the 256 bytes and 2 special tokens"
    );
    assert_eq!(said(&[], Settings::new(300)), "there is no text to train on");
    assert_eq!(
        said(&[b" \n\t ", "\u{3000}\n".as_bytes()], Settings::new(300)),
        "the text to train on is nothing but white space, 8 bytes of it"
    );
    assert_eq!(
        said(&[text], Settings { specials: 1, ..Settings::new(300) }),
        "the text, 11 bytes, is too small for a vocabulary of 300: it has 8 merges, 43 are wanted"
    );
    let before = vec![(256, 0)];
    assert_eq!(
        said(&[text], Settings { before, ..Settings::new(300) }),
        "merge 0 names a token that no merge before it makes"
    );
    let before = vec![(0, 1), (1, 2)];
    assert_eq!(
        said(&[text], Settings { before, ..Settings::new(257) }),
        "2 merges exist already, and a vocabulary of 257 has room for 1"
    );
}

#[test]
fn a_source_that_fails_stops_every_thread() {
    struct Broken;
    impl Texts for Broken {
        fn next(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
            visit(b"some text");
            Err(Error::data("it broke"))
        }
    }
    let settings = Settings { threads: 3, ..Settings::new(300) };
    let error = train(&Broken, &Pattern::new("gpt2").unwrap(), &settings, &Unwatched).unwrap_err();
    assert_eq!(error.to_string(), "it broke");
}

#[test]
fn who_watches_can_stop() {
    struct Stopper(Phase);
    impl Watch for Stopper {
        fn report(&self, report: &Report) -> bool {
            report.phase != self.0
        }
    }
    let text = random_text(&mut Random(5), 2000, ALPHABETS[1], 9);
    for phase in [Phase::Count, Phase::Merge] {
        let pattern = Pattern::new("gpt2").unwrap();
        let error = train(&listed(&[text.as_bytes()]), &pattern, &Settings::new(400), &Stopper(phase)).unwrap_err();
        assert_eq!(error.kind, crate::error::Kind::Interrupted);
    }
}

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pylm-train-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn counts_that_spill_many_times_are_the_same() {
    let mut random = Random(6);
    let mut text = random_text(&mut random, 12_000, &["a", "b", "c", "d", "é", "日"], 24);
    text += &"x".repeat(40_000);
    let lines: Vec<&[u8]> = text.split_inclusive('\n').map(str::as_bytes).collect();
    let whole = run(&lines, &Settings::new(700)).unwrap();
    let temporary = folder("spill");
    for threads in [1, 2, 7] {
        let count = |memory| {
            let spill = Spill::new(memory, threads, &temporary).unwrap();
            let clock = Clock::new(&Unwatched);
            let pattern = Pattern::new("gpt2").unwrap();
            count::count(&listed(&lines), &pattern, threads, Some(spill), &clock).unwrap()
        };
        let counts = count(20_000);
        assert!(counts.spills > 20, "{} spills", counts.spills);
        assert_eq!(
            (counts.bytes, counts.pre_tokens, counts.words.len()),
            (whole.bytes, whole.pre_tokens, whole.distinct)
        );
        let merges = Crew::with(threads, |crew| {
            let (shares, room) = words::lay_out::<u16>(counts.words, 1000, None, crew, 0).unwrap();
            let mut merger = Merger::new(shares, &Settings::new(700), room, crew);
            merger.start(&[], 444);
            assert_eq!(merger.run(444, 444), merge::State::Done);
            Ok(merger.into_merges())
        });
        assert_eq!(merges.unwrap(), whole.merges);
    }
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left behind");
    std::fs::remove_dir_all(temporary).unwrap();
}

/// As many merges as `text` has after those `before`, by threads that have one share or one each.
fn merged(text: &str, before: &[Merge], most: usize, threads: usize, shared_from: u64) -> Vec<Merge> {
    let (clock, pattern) = (Clock::new(&Unwatched), Pattern::new("gpt2").unwrap());
    let counts = count::count(&listed(&[text.as_bytes()]), &pattern, 1, None, &clock).unwrap();
    let merges = Crew::with(threads, |crew| {
        let (mut shares, room) = words::lay_out::<u16>(counts.words, 1000, None, crew, shared_from)?;
        assert_eq!(shares.len(), if shared_from == 0 { threads } else { 1 });
        for share in &mut shares {
            share.most = most;
        }
        let mut merger = Merger::new(shares, &Settings::new(700), room, crew);
        merger.start(before, 444);
        merger.run(444, 444);
        Ok(merger.into_merges())
    });
    merges.unwrap()
}

#[test]
fn lists_that_outgrow_their_places_are_made_anew() {
    let text = random_text(&mut Random(9), 3000, ALPHABETS[1], 14);
    let whole = run(&[text.as_bytes()], &Settings::new(700)).unwrap().merges;
    for (most, before, threads) in [(3, 0, 1), (60, 0, 2), (500, 0, 3), (3, 200, 2), (60, 200, 1)] {
        for shared_from in [0, u64::MAX] {
            assert_eq!(merged(&text, &whole[..before], most, threads, shared_from), whole, "{most} {before}");
        }
    }
}

#[test]
fn threads_that_share_words_make_the_merges_of_one() {
    let text = random_text(&mut Random(11), 3000, ALPHABETS[1], 14);
    let whole = run(&[text.as_bytes()], &Settings::new(700)).unwrap().merges;
    for (before, threads) in [(0, 1), (0, 2), (0, 3), (0, 7), (200, 2), (300, 5)] {
        assert_eq!(merged(&text, &whole[..before], 1 << 20, threads, u64::MAX), whole, "{before} {threads}");
    }
    // more threads than words
    assert_eq!(merged("aab aab", &[], 1 << 20, 5, u64::MAX), run(&[b"aab aab"], &Settings::new(259)).unwrap().merges);
}

#[test]
fn a_panic_while_counting_or_merging_is_an_error() {
    let pattern = Pattern::new("gpt2").unwrap();
    for threads in [2, 5] {
        // the first of the texts that a thread other than this takes
        struct Failing(std::thread::ThreadId);
        impl Texts for Failing {
            fn next(&self, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
                assert!(std::thread::current().id() == self.0, "on purpose");
                std::thread::yield_now();
                visit(b"some text");
                Ok(true)
            }
        }
        let failing = Failing(std::thread::current().id());
        let error = train(&failing, &pattern, &Settings { threads, ..Settings::new(300) }, &Unwatched).unwrap_err();
        assert!(error.to_string().contains("a thread failed while it counted"), "{error}");
    }
}

#[test]
fn folders_of_counts_are_new_and_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = folder("exclusive").join("not/there");
    let made: Vec<spill::Temporary> = (0..20).map(|_| spill::Temporary::new(&parent).unwrap()).collect();
    let names: std::collections::HashSet<&PathBuf> = made.iter().map(|folder| &folder.path).collect();
    assert_eq!(names.len(), 20);
    for folder in &made {
        assert_eq!(std::fs::metadata(&folder.path).unwrap().permissions().mode() & 0o777, 0o700);
    }
    drop(made);
    assert_eq!(std::fs::read_dir(&parent).unwrap().count(), 0);
}

#[test]
fn too_little_memory_to_merge_is_said_before_merging() {
    let text = random_text(&mut Random(7), 120_000, &["a", "b", "c", "d", "e", "f", "g", "h"], 24);
    let settings = Settings { memory: Some(9 << 20), ..Settings::new(400) };
    let error = run(&[text.as_bytes()], &settings).unwrap_err();
    assert!(error.to_string().starts_with("merging takes about "), "{error}");
    assert!(error.to_string().ends_with("9 MB are allowed"), "{error}");
    assert!(error.hint.unwrap().contains("or train on a sample of about "));
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_merges() {
    struct StopAt(std::sync::atomic::AtomicU64);
    impl Watch for StopAt {
        fn report(&self, report: &Report) -> bool {
            report.phase == Phase::Count || report.done < self.0.load(std::sync::atomic::Ordering::Relaxed)
        }
    }
    let mut random = Random(8);
    let text = random_text(&mut random, 3000, ALPHABETS[1], 14);
    let pattern = Pattern::new("gpt2").unwrap();
    let whole = run(&[text.as_bytes()], &Settings::new(900)).unwrap();
    let folder = folder("resume");
    let state = State { folder: folder.clone(), sources: "these".into() };
    let settings = Settings { state: Some(state.clone()), ..Settings::new(900) };
    // stopped at the first report of the merge phase: the counts are kept
    let stopper = StopAt(0.into());
    assert!(train(&listed(&[text.as_bytes()]), &pattern, &settings, &stopper).is_err());
    let merges = std::fs::read_to_string(folder.join("merges")).unwrap();
    let made = merges.lines().count() - 1; // the first says what the others belong to
    assert!(made > 0 && made < 644);
    // torn at every byte of its last line
    for torn in 1..=merges.lines().last().unwrap().len() {
        std::fs::write(folder.join("merges"), &merges[..merges.len() - torn]).unwrap();
        // no text is read again
        let trained = train(&listed(&[]), &pattern, &settings, &Unwatched).unwrap();
        assert_eq!(trained.merges, whole.merges);
        assert_eq!(trained.resumed, made - 1);
        assert_eq!((trained.bytes, trained.distinct), (whole.bytes, whole.distinct));
    }
    // all merges are there now, and a greater vocabulary goes on from them
    let more = Settings { state: Some(state), ..Settings::new(950) };
    let trained = train(&listed(&[]), &pattern, &more, &Unwatched).unwrap();
    assert_eq!(trained.merges, run(&[text.as_bytes()], &Settings::new(950)).unwrap().merges);
    assert_eq!(trained.resumed, 644);
    // another training does not take it for its own
    let other = Settings { min_frequency: 3, ..settings.clone() };
    let error = train(&listed(&[]), &pattern, &other, &Unwatched).unwrap_err();
    assert!(error.to_string().ends_with("holds the state of another training: other sources, pattern or limits"));
    // nor where only the merges are left of it: they are small, and counts are what people remove
    let counts = std::fs::read(folder.join("counts")).unwrap();
    std::fs::remove_file(folder.join("counts")).unwrap();
    let elsewhere = State { folder: folder.clone(), sources: "others".into() };
    let error = train(&Unread, &pattern, &Settings { state: Some(elsewhere), ..settings.clone() }, &Unwatched);
    assert!(error.unwrap_err().to_string().contains("holds the state of another training"));
    // merges that were never written whole are made again; those that do not say what they belong to are refused
    for (left, fine) in [("", true), ("pylm-mer", true), ("\0\0\0\0", true), ("1 2\n", false)] {
        std::fs::write(folder.join("merges"), left).unwrap();
        match train(&listed(&[text.as_bytes()]), &pattern, &settings, &Unwatched) {
            Ok(trained) => assert_eq!((trained.merges, trained.resumed, fine), (whole.merges.clone(), 0, true)),
            Err(error) => assert!(!fine && error.to_string().contains("another training"), "{error}"),
        }
    }
    std::fs::remove_file(folder.join("merges")).unwrap();
    // a second training with the same state waits for its turn elsewhere
    let held = crate::lock::Lock::take(&folder.join("lock"), false).unwrap();
    let error = train(&Unread, &pattern, &settings, &Unwatched).unwrap_err();
    assert!(error.to_string().starts_with("another training keeps its state in "), "{error}");
    drop(held);
    // what a kill left of counts goes
    std::fs::create_dir(folder.join("pylm-counts-0123")).unwrap();
    std::fs::write(folder.join("counts"), &counts).unwrap();
    train(&listed(&[]), &pattern, &settings, &Unwatched).unwrap();
    assert!(!folder.join("pylm-counts-0123").exists());
    // damage
    let counts = std::fs::read(folder.join("counts")).unwrap();
    for length in [0, 30, 60, counts.len() - 1] {
        std::fs::write(folder.join("counts"), &counts[..length]).unwrap();
        let error = train(&listed(&[]), &pattern, &settings, &Unwatched).unwrap_err();
        assert!(error.to_string().ends_with("counts is damaged"), "{error}");
    }
    // a pre-token longer than the file; the first one's length lies behind the head, the fingerprint, hash and count
    let fingerprint = u32::from_le_bytes(counts[48..52].try_into().unwrap()) as usize;
    let mut long = counts.clone();
    long[52 + fingerprint + 16..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
    std::fs::write(folder.join("counts"), &long).unwrap();
    let error = train(&listed(&[]), &pattern, &settings, &Unwatched).unwrap_err();
    assert!(error.to_string().ends_with("counts is damaged"), "{error}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn counts_go_beyond_32_bits() {
    let mut table = count_table::CountTable::new();
    let long = b"a pre-token of more than fifteen bytes".as_slice();
    for bytes in [b"short".as_slice(), long] {
        let probe = count_table::Probe::new(bytes, 0, bytes.len());
        for times in [u64::from(u32::MAX), 1, 7 << 32, u64::from(u32::MAX) - 3, 9] {
            table.reserve(1);
            table.add(probe, bytes, times);
        }
    }
    let mut seen = Vec::new();
    table.part(0, 1, &mut |bytes, _, count| seen.push((bytes.to_vec(), count)));
    seen.sort();
    assert_eq!(seen, [(long.to_vec(), (9 << 32) + 5), (b"short".to_vec(), (9 << 32) + 5)]);
}

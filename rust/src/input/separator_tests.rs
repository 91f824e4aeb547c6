//! What `--split` means, on texts made of little but separators.

use std::time::{Duration, Instant};

use super::tests::{compress, options, read_all, texts, Folder, Random};
use super::*;

/// The documents of a text that is split at blank lines, by a regular expression over the whole of it.
fn paragraphs(text: &str) -> Vec<&str> {
    let run = fancy_regex::Regex::new(r"\r?\n[ \t\r\n]*\n").unwrap();
    let (mut found, mut start) = (Vec::new(), 0);
    for at in run.find_iter(text).map(Result::unwrap) {
        found.push(&text[start..at.start()]);
        start = at.end();
    }
    found.push(&text[start..]);
    found.retain(|text| !text.is_empty());
    found
}

/// Words, and runs of blanks that are longer than blocks, than searches and than the steps of the plan.
fn blanks_and_words(random: &mut Random, parts: usize) -> String {
    let mut text = String::new();
    for _ in 0..parts {
        match random.below(3) {
            0 => text.push_str(&"word of text ".repeat(1 + random.below(6))),
            1 => text.push_str(["\n", " ", "\r\n", "\n\n", " \n\t\n"][random.below(5)]),
            _ => {
                let most = [10, 5000, 30_000][random.below(3)];
                let blanks: &[&str] = [&["\n"][..], &[" "], &["\n", " ", "\t", "\r\n"]][random.below(3)];
                (0..random.below(most)).for_each(|_| text.push_str(blanks[random.below(blanks.len())]));
            }
        }
    }
    text
}

#[test]
fn blank_runs_of_any_length_split_as_in_the_whole_text() {
    let folder = Folder::new("runs");
    let mut random = Random(31);
    for round in 0..60 {
        let text = blanks_and_words(&mut random, 1 + round % 12);
        let target = [1200, 20_000, 1 << 30][round % 3];
        for name in ["a.txt", "a.txt.zst"] {
            let bytes = if name == "a.txt" { text.clone().into_bytes() } else { compress(name, text.as_bytes()) };
            let source = folder.write(name, bytes);
            for cuttable in [true, false] {
                let mut options = options(Separator::Blank);
                options.safe_cut = options.safe_cut.filter(|_| cuttable);
                let input = Input::resolve(std::slice::from_ref(&source), options).unwrap();
                let found = texts(read_all(&input, target, Validation::None).unwrap());
                assert!(found == paragraphs(&text), "round {round}, {name}, units of {target}, {cuttable}");
            }
        }
    }
}

#[test]
fn a_run_of_blank_lines_takes_time_in_its_length_only() {
    let separator = Separator::Blank;
    for line in ["\n", "\r\n", " \n", "\t \r\n"] {
        let run = line.repeat(300_000);
        let started = Instant::now();
        assert_eq!(separator.first(run.as_bytes(), 0, false), None);
        assert_eq!(separator.last(run.as_bytes()), None);
        assert_eq!(separator.first(run.as_bytes(), 0, true).unwrap().next, run.len());
        let text = format!("a{run}b");
        assert_eq!(separator.last(text.as_bytes()).unwrap().next, text.len() - 1);
        assert_eq!(separator.tail(&text.as_bytes()[..text.len() - 1]), 1);
        // 4.5 * 10^10 steps if each newline looked through what is behind it
        assert!(started.elapsed() < Duration::from_secs(4), "{line:?}: {:?}", started.elapsed());
    }
}

#[test]
fn what_follows_a_long_run_in_a_stream_is_not_moved_for_every_piece() {
    let folder = Folder::new("stream");
    let text = format!("first{}{}", "\n".repeat(12_000_000), "some words\n\n".repeat(1_000_000));
    let source = folder.write("a.txt.zst", compress("a.txt.zst", text.as_bytes()));
    let input = Input::resolve(&[source], options(Separator::Blank)).unwrap();
    let started = Instant::now();
    let blocks = Blocks::new(&input).unwrap();
    let mut documents = 0;
    while let Some(block) = blocks.next().unwrap() {
        documents += block.segments.len();
    }
    assert_eq!(documents, 1_000_001);
    // 3,000 blocks of 4 KB: moving 12 MB for each would be 36 GB
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn a_line_is_a_document_without_its_end() {
    let folder = Folder::new("line");
    let source = folder.write("a.txt", "one line\r\ntwo line\n\nthree line here\n");
    let input = Input::resolve(&[source], options(Separator::parse("line").unwrap())).unwrap();
    let documents = texts(read_all(&input, 1 << 30, Validation::None).unwrap());
    assert_eq!(documents, ["one line", "two line", "three line here"]);
    assert!(matches!(Separator::parse("blank").unwrap(), Separator::Blank));
    assert!(matches!(Separator::parse("file").unwrap(), Separator::File));
    assert!(matches!(Separator::parse("lines").unwrap(), Separator::Literal(_)));
    assert!(Separator::parse("").is_err());
}

#[test]
fn a_literal_separator_is_never_cut_in_two() {
    let folder = Folder::new("literal");
    let mut random = Random(32);
    // safe where the search for the document's end stops, within a separator or not
    let anywhere: SafeCut = Arc::new(|text, _, high| (high > 10_000).then(|| high.min(text.len())));
    for round in 0..40 {
        let mut text = String::new();
        for _ in 0..=random.below(4) {
            text.push_str(&"x".repeat(16_370 + random.below(40)));
            text.push_str("<|endoftext|>");
        }
        let expected: Vec<&str> = text.split("<|endoftext|>").filter(|text| !text.is_empty()).collect();
        let source = folder.write("a.txt", &text);
        let options = Options { safe_cut: Some(anywhere.clone()), ..Options::default() };
        let input = Input::resolve(&[source], options).unwrap();
        let target = [5000, 16_300, 1 << 30][round % 3];
        assert_eq!(texts(read_all(&input, target, Validation::None).unwrap()), expected, "round {round}");
    }
}

#[test]
fn a_check_stops_the_survey_and_the_plan() {
    let folder = Folder::new("check");
    for name in ["a.txt", "a.txt.zst"] {
        let text = "x ".repeat(40_000);
        let bytes = if name == "a.txt" { text.clone().into_bytes() } else { compress(name, text.as_bytes()) };
        let source = folder.write(name, bytes);
        let mut options = options(Separator::Blank);
        let input = Input::resolve(std::slice::from_ref(&source), options.clone()).unwrap();
        options.check = Some(Arc::new(|| Err(crate::Error::interrupted())));
        let stopped = Input { options: Arc::new(options), ..input };
        assert!(survey(&stopped, u64::MAX).is_err());
        assert!(plan_units(&stopped, 20_000, Validation::None, None).is_err());
    }
}

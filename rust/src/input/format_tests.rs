//! Every format in blocks of four kilobytes: the documents are those that were written, from every mark on.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::reader::UnitReader;
use super::tests::{options, read_all, texts, Folder, Random};
use super::*;

/// What may be hard to take for text: quotes, brackets, commas, lines.
fn drawn(random: &mut Random, count: usize) -> Vec<String> {
    let words = ["plain ", "\"", "\"\"", ",", "\n", "\r\n", "[{", "]}", "\\", "漢字 ", "WARC/1.0\r\n", "<|endoftext|"];
    let text = |random: &mut Random| {
        let words: String = (0..random.below(60)).map(|_| words[random.below(words.len())]).collect();
        format!("x{words}x")
    };
    (0..count).map(|_| text(random)).collect()
}

fn csv(documents: &[String]) -> Vec<u8> {
    let record = |text: &String| format!("1,\"{}\"\r\n", text.replace('"', "\"\""));
    ["id,text\n".to_string()].into_iter().chain(documents.iter().map(record)).collect::<String>().into_bytes()
}

fn json_array(documents: &[String]) -> Vec<u8> {
    let objects: Vec<_> = documents.iter().map(|text| json!({"a": [{"]": "["}], "text": text})).collect();
    serde_json::to_vec_pretty(&objects).unwrap()
}

fn wet(documents: &[String]) -> Vec<u8> {
    let record = |text: &String| {
        let kinds = [("conversion", text.as_str()), ("metadata", "no text")];
        kinds.map(|(kind, text)| {
            format!("WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}\r\n\r\n", text.len())
        })
    };
    documents.iter().flat_map(record).collect::<String>().into_bytes()
}

/// The documents in files of ten, each of another format.
fn tar(documents: &[String]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (number, part) in documents.chunks(10).enumerate() {
        let (suffix, bytes) = match number % 4 {
            0 => ("csv", csv(part)),
            1 => ("json", json_array(part)),
            2 => ("txt", part.join("<|endoftext|>").into_bytes()),
            _ => ("txt.gz", super::tests::compress("a.gz", part.join("<|endoftext|>").as_bytes())),
        };
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, &format!("{number}.{suffix}"));
        put(124, &format!("{:011o}", bytes.len()));
        put(148, "        ");
        put(257, "ustar\x0000");
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.extend(header);
        archive.extend(&bytes);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

/// What is left from a mark on, and the marks after its blocks with the documents before each.
fn rest(input: &Input, mark: Mark) -> (Vec<String>, Vec<(Mark, usize)>) {
    let mut reader = UnitReader::rest(input, 0, mark).unwrap();
    let (mut found, mut marks) = (Vec::new(), Vec::new());
    while let Some(raw) = reader.next().unwrap() {
        let after = raw.after();
        let block = Block::new(raw, &input.files[0], &input.options, Validation::None).unwrap();
        found.extend(block.documents().map(|text| String::from_utf8(text.to_vec()).unwrap()));
        marks.push((after, found.len()));
    }
    (found, marks)
}

#[test]
fn every_format_is_read_and_goes_on_from_every_mark() {
    let folder = Folder::new("formats");
    let mut random = Random(7);
    type Made = fn(&[String]) -> Vec<u8>;
    let formats: [(&str, Made); 4] = [("csv", csv), ("json", json_array), ("wet", wet), ("tar", tar)];
    for (suffix, made) in formats {
        for packed in ["", ".gz", ".zst"] {
            let documents = drawn(&mut random, 300);
            let name = format!("a.{suffix}{packed}");
            let bytes = made(&documents);
            let bytes = if packed.is_empty() { bytes } else { super::tests::compress(&name, &bytes) };
            let source = folder.write(&name, bytes);
            let mut options = options(Separator::end_of_text());
            options.safe_cut = None;
            let input = Input::resolve(&[source], options).unwrap();
            assert_eq!(texts(read_all(&input, 1 << 20, Validation::hash(0.3)).unwrap()), documents, "{name}");
            let (found, marks) = rest(&input, Mark::default());
            assert_eq!(found, documents, "{name}");
            assert!(marks.len() > 5, "{name}");
            for (mark, done) in marks {
                assert_eq!(rest(&input, mark).0, documents[done..], "{name} from {mark:?}");
            }
        }
    }
}

#[test]
fn what_does_not_end_is_refused_before_all_of_it_is_held() {
    let folder = Folder::new("endless");
    for (name, begin) in [("a.csv", "text\n\"open"), ("a.json", "[{\"text\": \"open")] {
        let source = folder.write(name, format!("{begin}{}", "x".repeat(400_000)));
        let input = Input::resolve(&[source], Options::default()).unwrap();
        let error = read_all(&input, 1 << 20, Validation::None).unwrap_err();
        assert!(error.message.contains("does not end"), "{}", error.message);
    }
}

#[test]
fn zstd_with_a_window_of_256_megabytes_is_read() {
    let folder = Folder::new("window");
    let text = "a line that is often there\n".repeat(50_000);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(28).unwrap();
    encoder.long_distance_matching(true).unwrap();
    encoder.write_all(text.as_bytes()).unwrap();
    let source = folder.write("a.txt.zst", encoder.finish().unwrap());
    let input = Input::resolve(&[source], Options::default()).unwrap();
    assert_eq!(texts(read_all(&input, 1 << 20, Validation::None).unwrap()), [text]);
}

#[test]
fn bytes_from_elsewhere_are_asked_for_in_order_and_once() {
    let bytes: Vec<u8> = (0..100_000u32).map(|byte| byte as u8).collect();
    let asked = Arc::new(AtomicUsize::new(0));
    let (counted, served) = (asked.clone(), bytes.clone());
    let read = move |start: u64, length: u64| {
        counted.fetch_add(length as usize, Ordering::Relaxed);
        Ok(served[start as usize..(start + length) as usize].to_vec().into())
    };
    let remote = Arc::new(Remote::new("a".into(), "a".into(), 100_000, "x".into(), read));
    let ahead = super::ahead::Ahead::new(&remote, [5_000..9_000, 20_000..60_000], &Options::default(), false);
    for (start, length) in [(5_000, 10), (5_005, 3_995), (20_000, 1), (21_999, 30_000), (59_999, 1)] {
        assert_eq!(ahead.bytes(start, length).unwrap(), bytes[start as usize..start as usize + length]);
    }
    assert!(asked.load(Ordering::Relaxed) <= 44_000);
    assert!(ahead.bytes(9_000, 1).is_err() && ahead.bytes(4_999, 1).is_err() && ahead.bytes(59_999, 2).is_err());
    // what was let go is asked for again
    assert_eq!(ahead.bytes(30_000, 5).unwrap(), bytes[30_000..30_005]);
}

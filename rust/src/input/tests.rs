use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::slice::from_ref;

use super::*;
use crate::error::Error;

/// Numbers that differ from call to call and not from run to run.
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Text of some words, some lines, some characters of several bytes.
    pub fn text(&mut self, length: usize) -> String {
        let words = [
            "the ",
            "a",
            "Größe ",
            "x1",
            "\n",
            " ",
            "漢字",
            "🙂 ",
            "<|end",
            "endoftext|>",
            "\n\n",
            "\r\n",
            "\t",
            "word ",
        ];
        let mut text = String::new();
        while text.len() < length {
            text.push_str(words[self.below(words.len())]);
        }
        text
    }
}

/// A folder that is gone after the test.
pub(crate) struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pylm-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Before a space that follows something else: a word's start.
pub(crate) fn space_cut() -> SafeCut {
    Arc::new(|text, low, high| (low + 1..=high).find(|&p| p < text.len() && text[p] == b' ' && text[p - 1] != b' '))
}

pub(super) fn options(separator: Separator) -> Options {
    Options { separator, safe_cut: Some(space_cut()), ..Options::default() }
}

/// All documents with their sides, put together again from their parts, as a single thread reads them.
pub(super) fn read_all(input: &Input, target: u64, validation: Validation) -> Result<Vec<(Vec<u8>, Side)>, Error> {
    let survey = survey(input, u64::MAX)?;
    let units = Arc::new(plan_units(input, target, validation, Some(&survey))?);
    let feed = Feed::new(input, units.clone(), vec![(0, 0..units.len())], validation);
    let mut documents: Vec<(Vec<u8>, Side)> = Vec::new();
    let mut open: Option<(Vec<u8>, Side)> = None;
    while let Some(ticket) = feed.next(0)? {
        let Event::Block(raw) = ticket.event else { continue };
        let file = &input.files[raw.file()];
        let block = Block::new(raw, file, &input.options, validation)?;
        for segment in &block.segments {
            let (mut text, side) = open.take().unwrap_or((Vec::new(), segment.side));
            assert_eq!(side, segment.side, "a document goes on where it began");
            text.extend_from_slice(&block.text[segment.range.clone()]);
            if segment.ends {
                documents.push((text, side));
            } else {
                open = Some((text, side));
            }
        }
    }
    assert!(open.is_none(), "the last document ends");
    Ok(documents)
}

pub(super) fn texts(documents: Vec<(Vec<u8>, Side)>) -> Vec<String> {
    documents.into_iter().map(|(text, _)| String::from_utf8(text).unwrap()).collect()
}

pub(super) fn compress(name: &str, text: &[u8]) -> Vec<u8> {
    if Path::new(name).extension().is_some_and(|suffix| suffix == "gz") {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    } else {
        zstd::encode_all(text, 1).unwrap()
    }
}

#[test]
fn documents_are_those_of_a_plain_split_whatever_the_cuts() {
    let folder = Folder::new("split");
    let mut random = Random(1);
    for round in 0..60 {
        let mut whole = String::new();
        for _ in 0..random.below(30) {
            let length = [0, 3, 200, 3000, 30_000][random.below(5)];
            whole.push_str(&random.text(length));
            if random.below(8) > 0 {
                whole.push_str("<|endoftext|>");
            }
        }
        let expected: Vec<&str> = whole.split("<|endoftext|>").filter(|text| !text.is_empty()).collect();
        let target = [1200, 6000, 40_000, 1 << 30][random.below(4)];
        for name in ["a.txt", "a.txt.gz", "a.txt.zst"] {
            let bytes = if name == "a.txt" { whole.clone().into_bytes() } else { compress(name, whole.as_bytes()) };
            let source = folder.write(name, bytes);
            let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
            let validation = Validation::hash(0.3);
            let documents = read_all(&input, target, validation).unwrap();
            for (text, side) in &documents {
                assert_eq!(*side, validation.side(text), "a document's side is its own hash's");
            }
            assert_eq!(texts(documents), expected, "round {round}, {name}, units of {target}");
        }
    }
}

#[test]
fn blank_lines_split_as_a_reader_would() {
    let folder = Folder::new("blank");
    let mut random = Random(2);
    for round in 0..60 {
        let mut expected = Vec::new();
        let mut whole = ["", "\n", "\n \n\t\n"][random.below(3)].to_string();
        for _ in 0..random.below(40) {
            let most = [3, 400][random.below(2)];
            let lines = 1 + random.below(most);
            let newline = ["\n", "\r\n"][random.below(2)];
            let line = |random: &mut Random| format!("x{} y z", random.below(1000));
            let paragraph: Vec<String> = (0..lines).map(|_| line(&mut random)).collect();
            expected.push(paragraph.join(newline));
            whole.push_str(&paragraph.join(newline));
            whole.push_str(newline);
            for _ in 0..=random.below(3) {
                whole.push_str(["", " ", "\t "][random.below(3)]);
                whole.push_str(newline);
            }
        }
        let source = folder.write("a.txt", &whole);
        let input = Input::resolve(&[source], options(Separator::Blank)).unwrap();
        let documents = texts(read_all(&input, [700, 9000, 1 << 30][round % 3], Validation::None).unwrap());
        // a blank line at the very beginning leaves nothing before it
        let documents: Vec<&str> = documents.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
        assert_eq!(documents, expected, "round {round}");
    }
}

#[test]
fn a_file_is_one_document_under_split_file() {
    let folder = Folder::new("file");
    let text = Random(3).text(100_000);
    folder.write("b.txt", &text);
    folder.write("a/x.txt", "short <|endoftext|> text");
    folder.write("a/empty.txt", "");
    folder.write("a/.hidden.txt", "no");
    folder.write("a/image.png", "no");
    let input = Input::resolve(&[folder.0.display().to_string()], options(Separator::File)).unwrap();
    for target in [5000, 1 << 30] {
        let documents = texts(read_all(&input, target, Validation::None).unwrap());
        assert_eq!(documents, ["short <|endoftext|> text", text.as_str()]);
    }
}

#[test]
fn a_text_of_one_document_is_cut_into_many_pieces_and_units() {
    let folder = Folder::new("one");
    let source = folder.write("a.txt", Random(4).text(300_000).replace("<|end", ""));
    let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
    let units = plan_units(&input, 30_000, Validation::None, None).unwrap();
    assert!(units.len() >= 10, "{}", units.len());
    let blocks = Blocks::new(&input).unwrap();
    let mut count = 0;
    while let Some(block) = blocks.next().unwrap() {
        count += 1;
        assert!(block.text.len() <= 5 * raw::BLOCK_BYTES);
    }
    assert!(count >= 50, "{count}");
}

#[test]
fn jsonl_keeps_escapes_and_names_a_broken_line() {
    let folder = Folder::new("jsonl");
    let mut random = Random(5);
    let expected: Vec<String> = (0..300)
        .map(|_| {
            let n = 1 + random.below(500);
            random.text(n)
        })
        .collect();
    let mut whole = String::new();
    for text in &expected {
        let line = serde_json::json!({"id": 1, "meta": {"text": "inner"}, "text": text});
        writeln!(whole, "{line}\n").unwrap();
    }
    let bad = "{\"text\": \"unfinished\n{\"body\": \"none\"}\n{\"text\": 5}\n";
    for name in ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"] {
        let pack =
            |text: &str| if name == "a.jsonl" { text.as_bytes().to_vec() } else { compress(name, text.as_bytes()) };
        let source = folder.write(name, pack(&whole));
        let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
        assert_eq!(texts(read_all(&input, 20_000, Validation::None).unwrap()), expected);

        let source = folder.write(name, pack(&format!("{whole}{bad}")));
        let input = Input::resolve(from_ref(&source), options(Separator::end_of_text())).unwrap();
        let error = read_all(&input, 20_000, Validation::None).unwrap_err();
        let place = format!("{source}: line 601, byte {}", whole.len() + 19);
        assert!(error.message.starts_with(&place), "{} is not {place}", error.message);

        let lenient = Options { skip_bad: true, ..options(Separator::end_of_text()) };
        let input = Input::resolve(&[source], lenient).unwrap();
        assert_eq!(texts(read_all(&input, 20_000, Validation::None).unwrap()), expected);
        let blocks = Blocks::new(&input).unwrap();
        let mut skipped = Vec::new();
        while let Some(block) = blocks.next().unwrap() {
            skipped.extend(block.skipped.into_iter().map(|line| (line.line, line.why)));
        }
        assert_eq!(skipped.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [601, 602, 603]);
        assert!(skipped[1].1.contains("no \"text\""), "{:?}", skipped[1]);
        assert!(skipped[2].1.contains("expected text"), "{:?}", skipped[2]);
    }
}

#[test]
fn parquet_columns_are_read_by_row_groups_and_nulls_left_out() {
    use ::parquet::data_type::{ByteArray, ByteArrayType};
    use ::parquet::file::{properties::WriterProperties, writer::SerializedFileWriter};
    use ::parquet::schema::parser::parse_message_type;
    let folder = Folder::new("parquet");
    let mut random = Random(6);
    let schema = Arc::new(parse_message_type("message m { optional binary text (UTF8); required int64 n; }").unwrap());
    let path = folder.0.join("a.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut expected = Vec::new();
    for _ in 0..5 {
        let mut group = writer.next_row_group().unwrap();
        let texts: Vec<Option<String>> = (0..200)
            .map(|row| {
                (row % 7 != 3).then(|| {
                    let n = 1 + random.below(200);
                    random.text(n)
                })
            })
            .collect();
        let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
        let values: Vec<ByteArray> = texts.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<::parquet::data_type::Int64Type>().write_batch(&vec![1; 200], None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        expected.extend(texts.into_iter().flatten());
    }
    writer.close().unwrap();
    let source = path.display().to_string();
    for target in [100, 50_000, 1 << 30] {
        let input = Input::resolve(from_ref(&source), Options::default()).unwrap();
        assert_eq!(texts(read_all(&input, target, Validation::None).unwrap()), expected);
    }
    for (column, said) in [("body", "no column \"body\""), ("n", "holds no text")] {
        let wrong = Options { column: column.into(), ..Options::default() };
        let input = Input::resolve(from_ref(&source), wrong).unwrap();
        let error = read_all(&input, 100, Validation::None).unwrap_err();
        assert!(error.message.contains(said), "{}", error.message);
    }
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..1000]).unwrap();
    let input = Input::resolve(&[source], Options::default()).unwrap();
    assert!(read_all(&input, 100, Validation::None).unwrap_err().message.contains("no sound parquet file"));
}

#[test]
fn blocks_of_validation_hold_the_asked_share_whatever_the_units() {
    let folder = Folder::new("blocks");
    let text = Random(7).text(400_000);
    let source = folder.write("a.txt", &text);
    let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
    let validation = Validation::Blocks { period: 100_000, width: 10_000 };
    for target in [30_000, 45_000, 1 << 30] {
        let documents = read_all(&input, target, validation).unwrap();
        let kept: Vec<u8> = documents.iter().flat_map(|(text, _)| text.clone()).collect();
        assert_eq!(String::from_utf8(kept).unwrap(), text.replace("<|endoftext|>", ""));
        let held: usize =
            documents.iter().filter(|(_, side)| *side == Side::Validation).map(|(text, _)| text.len()).sum();
        assert!((38_000..42_000).contains(&held), "{held}");
    }
}

#[test]
fn bad_utf8_is_named_or_replaced() {
    let folder = Folder::new("utf8");
    let mut text = Random(8).text(20_000).replace("<|end", "").into_bytes();
    text.splice(15_000..15_000, [b' ', 0xff, 0xfe, b' ']);
    let at = text.iter().position(|&byte| byte == 0xff).unwrap();
    // the splice may have cut a character in two: that is then the first bad byte
    let first = std::str::from_utf8(&text).unwrap_err().valid_up_to();
    assert!(first <= at);
    let source = folder.write("a.txt", &text);
    let input = Input::resolve(from_ref(&source), options(Separator::end_of_text())).unwrap();
    let error = read_all(&input, 1 << 30, Validation::None).unwrap_err();
    assert!(error.message.contains(&format!("byte {first} is not UTF-8")), "{}", error.message);
    let lenient = Options { invalid: Invalid::Replace, ..options(Separator::end_of_text()) };
    let input = Input::resolve(&[source], lenient).unwrap();
    let documents = texts(read_all(&input, 1 << 30, Validation::None).unwrap());
    assert_eq!(documents.concat(), String::from_utf8_lossy(&text));
}

#[test]
fn damaged_and_missing_sources_are_named() {
    let folder = Folder::new("damaged");
    let text = Random(9).text(200_000);
    for name in ["a.txt.gz", "a.txt.zst"] {
        let mut bytes = compress(name, text.as_bytes());
        bytes.truncate(bytes.len() / 2);
        let source = folder.write(name, bytes);
        let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
        let error = read_all(&input, 1 << 30, Validation::None).unwrap_err();
        assert!(error.message.contains("is cut off"), "{}", error.message);
    }
    let said = |source: &str| match Input::resolve(&[source], Options::default()) {
        Ok(_) => panic!("{source} was accepted"),
        Err(error) => error.message,
    };
    let inside = |name: &str| folder.0.join(name).display().to_string();
    assert!(said(&inside("none.txt")).contains("No such file"));
    assert!(said(&inside("*.csv")).contains("no file matches"));
    std::fs::create_dir(folder.0.join("hollow")).unwrap();
    assert!(said(&inside("hollow")).contains("holds no txt"));
    assert!(said("-").contains("stdin"));
}

#[test]
fn many_threads_pull_every_document_once() {
    let folder = Folder::new("threads");
    let mut random = Random(10);
    let mut expected = Vec::new();
    for name in ["a.txt", "b.txt.gz", "c.txt.zst", "d.txt"] {
        let documents: Vec<String> =
            (0..400).map(|number| format!("{name} {number} {}", random.text(300).replace("<|end", ""))).collect();
        let whole = documents.join("<|endoftext|>");
        let bytes = if name.ends_with("txt") { whole.into_bytes() } else { compress(name, whole.as_bytes()) };
        folder.write(name, bytes);
        expected.extend(documents);
    }
    let input = Input::resolve(&[folder.0.display().to_string()], options(Separator::end_of_text())).unwrap();
    let blocks = Blocks::new(&input).unwrap();
    let mut found: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..7)
            .map(|_| {
                scope.spawn(|| {
                    let mut found = Vec::new();
                    while let Some(block) = blocks.next().unwrap() {
                        found.extend(block.documents().map(|text| String::from_utf8(text.to_vec()).unwrap()));
                    }
                    found
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn leaving_lines_out_is_no_advice_where_the_first_one_lacks_the_field() {
    let folder = Folder::new("conversations");
    let talk = r#"{"messages": [{"role": "user", "content": "hello"}]}"#;
    let talked = "the line has no \"text\": it holds a conversation, under \"messages\"";
    let cases = [
        (
            talk.to_string(),
            talked,
            "pylm finetune learns conversations; to train on plain text, write the text of each under \"text\"",
        ),
        (format!("\n{talk}"), talked, "under \"text\""),
        (format!("{{\"text\": \"a\"}}\n{talk}"), talked, "or leave such lines out with --skip-bad"),
        ("{\"n\": 1}".into(), "no \"text\"", "no key of it holds text: write the text under \"text\""),
        ("{\"body\": \"words\"}".into(), "no \"text\"", "its longest text is under \"body\": --field body"),
        ("{\"text\": 1}\n{\"text\": \"a\"}".into(), "invalid type", "or leave such lines out with --skip-bad"),
        ("{\"text\": \"a".into(), "broken JSON", "or leave such lines out with --skip-bad"),
    ];
    for (lines, why, advice) in cases {
        let source = folder.write("a.jsonl", format!("{lines}\n"));
        let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
        let error = read_all(&input, 20_000, Validation::None).unwrap_err();
        let hint = error.hint.unwrap();
        assert!(error.message.contains(why) && hint.ends_with(advice), "{lines}: {} | {hint}", error.message);
    }
}

#[test]
fn a_glob_takes_hidden_files_only_where_it_says_the_dot() {
    let folder = Folder::new("hidden");
    for name in ["a.txt", ".b.txt", "d/c.txt", "d/.d.txt", ".e/f.txt", "d/.g/h.txt"] {
        folder.write(name, "words");
    }
    let here = folder.0.display().to_string();
    let cases: [(&str, &[&str]); 8] = [
        ("*.txt", &["a.txt"]),
        ("**/*.txt", &["a.txt", "d/c.txt"]),
        ("**/?*", &["a.txt", "d/c.txt"]),
        ("*/*", &["d/c.txt"]),
        (".*.txt", &[".b.txt"]),
        ("**/.*.txt", &[".b.txt", "d/.d.txt"]),
        (".e/*", &[".e/f.txt"]),
        ("./d/../d/[a-z]*", &["d/c.txt"]),
    ];
    for (pattern, wanted) in cases {
        let source = format!("{here}/{pattern}");
        let input = Input::resolve(&[source], options(Separator::end_of_text())).unwrap();
        let found: Vec<_> = input.files.iter().map(|file| file.place.path().canonicalize().unwrap()).collect();
        let root = folder.0.canonicalize().unwrap();
        let wanted: Vec<_> = wanted.iter().map(|name| root.join(name)).collect();
        assert_eq!(found, wanted, "{pattern}");
    }
    let none = Input::resolve(&[format!("{here}/[.]b.txt")], options(Separator::end_of_text()));
    assert!(none.err().unwrap().message.contains("no file matches"));
}

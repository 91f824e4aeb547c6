//! The properties that rust/fuzz looks for exceptions to, on bytes drawn here and on the fuzzer's corpora.

#[path = "../fuzz/src/lib.rs"]
mod properties;

struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}

/// Words, runs, any bytes and pieces of characters.
fn drawn(draw: &mut Draw) -> Vec<u8> {
    let words: [&[u8]; 12] = [
        b" the",
        b"internationalisation",
        "中文字符".as_bytes(),
        "ーー".as_bytes(),
        "é".as_bytes(),
        b"\n",
        b"  ",
        b"a",
        b"=",
        b"'ll",
        b"\xe4\xb8",
        b"12",
    ];
    let mut text = Vec::new();
    for _ in 0..draw.below(24) {
        match draw.below(4) {
            0 => text.push(draw.below(256) as u8),
            1 => text.extend(words[draw.below(words.len())].repeat(draw.below(40))),
            _ => text.extend_from_slice(words[draw.below(words.len())]),
        }
    }
    text
}

fn corpus(target: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// Every file of a target's corpus, and then what is drawn.
fn on_all(target: &str, property: fn(&[u8]), rounds: usize, mut next: impl FnMut(&mut Draw) -> Vec<u8>) {
    let corpus = corpus(target);
    let mut found = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        property(&std::fs::read(entry.unwrap().path()).unwrap());
        found += 1;
    }
    assert!(found > 0, "{} is empty", corpus.display());
    let mut draw = Draw(1);
    (0..rounds).for_each(|_| property(&next(&mut draw)));
}

#[test]
fn any_bytes_encode_and_decode() {
    on_all("encode", properties::encode, 400, drawn);
}

/// What repairs and those who look for addresses stop at.
fn odd_text(draw: &mut Draw) -> Vec<u8> {
    let pieces: Vec<&str> = "a b@c.org 8.8.8.8 [1.2.3.4] 3,5 Ã© â€œ Ð° \u{80} \r \n \t \u{a0} \u{200d} \u{200b} e\u{301} क्ष 漢 👩 \u{ad} א ß ǅ ﬁ İ"
        .split(' ')
        .chain([" ", "  "])
        .collect();
    (0..draw.below(24)).flat_map(|_| pieces[draw.below(pieces.len())].bytes()).collect()
}

#[test]
fn any_text_is_cleaned() {
    on_all("clean", properties::clean, 300, drawn);
    on_all("clean", properties::clean, 1000, odd_text);
}

#[test]
fn any_bytes_are_cut_as_the_regex_cuts_them() {
    on_all("scan", properties::scan, 300, drawn);
}

/// A sound file with some of its bytes changed, cut out or doubled.
fn damaged(draw: &mut Draw, sound: &[u8]) -> Vec<u8> {
    let mut file = sound.to_vec();
    for _ in 0..draw.below(4) {
        let at = draw.below(file.len());
        let end = (at + draw.below(60)).min(file.len());
        match draw.below(3) {
            0 => file[at] = draw.below(256) as u8,
            1 => drop(file.drain(at..end)),
            _ => file.splice(at..at, file[at..end].to_vec()).for_each(drop),
        }
        if file.is_empty() {
            break;
        }
    }
    file
}

#[test]
fn any_tokenizer_json_is_a_vocabulary_or_an_error() {
    let sound = properties::trained(b"the then that there aaaaaa    ", 20, "llama3").to_tokenizer_json();
    on_all("tokenizer_json", properties::tokenizer_json, 300, |draw| damaged(draw, sound.as_bytes()));
}

#[test]
fn any_ranks_are_a_vocabulary_or_an_error() {
    let sound = properties::trained(b"the then that there aaaaaa    ", 20, "gpt2").to_ranks().unwrap();
    on_all("ranks", properties::ranks, 300, |draw| damaged(draw, &sound));
}

#[test]
fn any_archive_is_texts_or_an_error() {
    let sound = std::fs::read(corpus("tar").join("gnu")).unwrap();
    on_all("tar", properties::tar, 300, |draw| damaged(draw, &sound));
}

#[test]
fn any_web_archive_is_texts_or_an_error() {
    let sound = std::fs::read(corpus("warc").join("records")).unwrap();
    on_all("warc", properties::warc, 300, |draw| damaged(draw, &sound));
}

#[test]
fn any_table_is_texts_or_an_error() {
    on_all("csv", properties::csv, 300, drawn);
    let sound = std::fs::read(corpus("csv").join("quotes")).unwrap();
    on_all("csv", properties::csv, 300, |draw| damaged(draw, &sound));
}

#[test]
fn any_json_is_texts_or_an_error() {
    let sound = std::fs::read(corpus("json").join("array")).unwrap();
    on_all("json", properties::json, 300, |draw| damaged(draw, &sound));
}

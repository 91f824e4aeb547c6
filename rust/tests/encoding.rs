//! The encoder against merging as it is defined, on vocabularies made at random: trained ones are all alike.

#[allow(dead_code)] // what must always hold is tried in tests/properties.rs
#[path = "../fuzz/src/lib.rs"]
mod properties;

use properties::trained;
use pylm_rust::bpe::encode::many::{encode_all, encode_in_chunks};
use pylm_rust::bpe::{Allowed, Encoder, Vocab};
use pylm_rust::pattern::Pattern;

struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % limit as u64) as usize
    }
}

/// The definition: join the leftmost pair of the lowest rank until none is left.
fn defined(vocab: &Vocab, pre_token: &[u8]) -> Vec<u32> {
    let byte = |byte: &u8| vocab.tokens.iter().position(|token| token == &[*byte]).unwrap() as u32;
    let mut ids: Vec<u32> = pre_token.iter().map(byte).collect();
    loop {
        let rank = |pair: &[u32]| vocab.merges.iter().position(|merge| *merge == (pair[0], pair[1]));
        let best = ids.windows(2).enumerate().filter_map(|(at, pair)| rank(pair).map(|rank| (rank, at))).min();
        let Some((rank, at)) = best else { return ids };
        ids[at] = 256 + rank as u32;
        ids.remove(at + 1);
    }
}

fn by_definition(vocab: &Vocab, text: &[u8]) -> Vec<u32> {
    let (mut at, mut ends, mut ids) = (0, Vec::new(), Vec::new());
    while at < text.len() {
        let next = vocab.pattern.scan(text, at, &mut ends).unwrap();
        let mut from = at;
        for &end in &ends {
            ids.extend(defined(vocab, &text[from..at + end as usize]));
            from = at + end as usize;
        }
        at = next;
    }
    ids
}

/// Merges of random tokens, which text does not justify: most are never reached.
fn vocab(draw: &mut Draw, merges: usize, alphabet: &[u8], pattern: &str) -> Vocab {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    let mut texts: Vec<Vec<u8>> = alphabet.iter().map(|&byte| vec![byte]).collect();
    let mut ids: Vec<u32> =
        alphabet.iter().map(|&byte| pylm_rust::bpe::alphabet::ORDER[byte as usize].into()).collect();
    while pairs.len() < merges {
        let (left, right) = (draw.below(ids.len()), draw.below(ids.len()));
        let text = [texts[left].as_slice(), &texts[right]].concat();
        if text.len() < 24 && !texts.contains(&text) {
            ids.push(256 + pairs.len() as u32);
            pairs.push((ids[left], ids[right]));
            texts.push(text);
        }
    }
    Vocab::from_merges(pairs, vec!["<|endoftext|>".into()], Pattern::new(pattern).unwrap()).unwrap()
}

fn check(encoder: &Encoder, scratch: &mut pylm_rust::bpe::Scratch, text: &[u8]) {
    let expected = by_definition(&encoder.vocab, text);
    let (mut wide, mut narrow, mut plain, mut back) = (Vec::<u32>::new(), Vec::<u16>::new(), Vec::new(), Vec::new());
    encoder.encode(text, scratch, &mut wide).unwrap();
    encoder.encode(text, scratch, &mut narrow).unwrap();
    encoder.encode_plainly(text, &mut plain).unwrap();
    assert_eq!(wide, expected, "{text:?}");
    assert_eq!(narrow.iter().map(|&id| u32::from(id)).collect::<Vec<_>>(), expected);
    assert_eq!(plain, expected);
    encoder.vocab.decode(expected.iter().copied(), &mut back).unwrap();
    assert_eq!(back, text);
}

#[test]
fn random_merges_encode_as_merging_is_defined() {
    let mut draw = Draw(7);
    for round in 0..24 {
        let alphabet: &[u8] = [b"ab".as_slice(), b"abcd ", "中文的ー".as_bytes(), b"a\xe4\xb8\xad\xff "][round % 4];
        // the whole text is one pre-token, so that nothing but merging decides
        let encoder = Encoder::new(vocab(&mut draw, [3, 20, 120][round % 3], alphabet, r"(?s).+"));
        let mut scratch = encoder.scratch();
        for length in 0..100 {
            let text: Vec<u8> = (0..length).map(|_| alphabet[draw.below(alphabet.len())]).collect();
            check(&encoder, &mut scratch, &text);
        }
    }
}

#[test]
fn trained_merges_encode_as_merging_is_defined() {
    let mut draw = Draw(11);
    let words =
        ["the", " quick", "中文", "的。", "é", "  ", "\n", "1234567", "👍🏽", "ー", "theque", "字字字字字", "aaaaaaa"];
    for pattern in ["gpt2", "llama3", "o200k", r"(?s).+"] {
        let sample: String = (0..600).map(|_| words[draw.below(words.len())]).collect();
        let encoder = Encoder::new(trained(sample.as_bytes(), 150, pattern));
        let mut scratch = encoder.scratch();
        for round in 0..80 {
            let text: String = (0..draw.below(60)).map(|_| words[draw.below(words.len())]).collect();
            let mut bytes = text.into_bytes();
            for _ in 0..(round % 3).min(bytes.len()) {
                let at = draw.below(bytes.len());
                bytes[at] = draw.below(256) as u8;
            }
            check(&encoder, &mut scratch, &bytes);
        }
    }
}

/// From the second pass on they come out of the tables: in one entry, in two, among the long ones, or in none.
#[test]
fn pieces_of_many_ids_are_the_same_in_every_pass() {
    let mut draw = Draw(11);
    let few: Vec<(u32, u32)> = vec![(97 - 33, 98 - 33), (256, 99 - 33)];
    // every pair of bytes is a token, so that ids need more than 16 bits
    let mut all: Vec<(u32, u32)> = (0..1 << 16).map(|pair| (pair >> 8, pair & 255)).collect();
    for at in (1..all.len()).rev() {
        all.swap(at, draw.below(at + 1));
    }
    for merges in [few, all] {
        let encoder = Encoder::new(Vocab::from_merges(merges, Vec::new(), Pattern::new("gpt2").unwrap()).unwrap());
        let mut scratch = encoder.scratch();
        let mut text = Vec::new();
        for round in 0..4000 {
            text.push(b' ');
            text.extend((0..=round % 120).map(|_| b'a' + draw.below(26) as u8));
        }
        let mut plain = Vec::new();
        encoder.encode_plainly(&text, &mut plain).unwrap();
        for pass in 0..3 {
            let mut ids: Vec<u32> = Vec::new();
            encoder.encode(&text, &mut scratch, &mut ids).unwrap();
            assert_eq!(ids, plain, "pass {pass}");
        }
    }
}

#[test]
fn a_scratch_of_another_encoder_is_replaced() {
    let mut draw = Draw(3);
    let encoders: Vec<Encoder> = (0..2).map(|_| Encoder::new(vocab(&mut draw, 50, b"abc ", "gpt2"))).collect();
    let mut scratch = encoders[0].scratch();
    for encoder in [&encoders[0], &encoders[1], &encoders[0]] {
        check(encoder, &mut scratch, b"abc abcabc cab abc");
    }
    let mut ids = Vec::<u32>::new();
    encoders[0].encode_with(b"a<|endoftext|>", &Allowed::All, &mut scratch, &mut ids).unwrap();
    assert_eq!(ids.last(), Some(&(256 + 50)));
}

/// What scanners and merging find hard: runs, spaces before words and at ends, contractions, cut characters.
fn hostile(draw: &mut Draw, pre_tokens: usize) -> Vec<u8> {
    let parts: [&[u8]; 14] = [
        b"the",
        b" quick",
        "\u{4e2d}\u{6587}".as_bytes(),
        b"'s",
        b"  ",
        b"\n",
        b"\r\n",
        b"1234567",
        "\u{e9}".as_bytes(),
        b"aaaaaaaaaaaaaaaaaaaaaaaa",
        b"\xff",
        b"\xe4\xb8",
        b"================================",
        b" <|endoftext|>",
    ];
    let drawn = (0..pre_tokens).map(|_| parts[draw.below(parts.len())].repeat(1 + draw.below(3)));
    drawn.collect::<Vec<_>>().concat()
}

#[test]
fn a_text_cut_anywhere_for_threads_has_the_ids_of_the_whole() {
    let mut draw = Draw(19);
    for pattern in ["gpt2", "cl100k", "llama3", "qwen2", "o200k", r"\S+|\s+"] {
        let sample = hostile(&mut draw, 300);
        let encoder = Encoder::new(trained(&sample, 200, pattern));
        let texts: Vec<Vec<u8>> = (0..12).map(|round| hostile(&mut draw, round * 8)).collect();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        for allowed in [Allowed::None, Allowed::All] {
            let mut scratch = encoder.scratch();
            let one = |text: &&[u8]| {
                let mut ids = Vec::<u32>::new();
                encoder.encode_with(text, &allowed, &mut scratch, &mut ids).unwrap();
                ids
            };
            let whole: Vec<Vec<u32>> = texts.iter().map(one).collect();
            for chunk in [1, 2, 3, 5, 8, 13, 21, 64, 1000] {
                for threads in [1, 3] {
                    let cut = encode_in_chunks::<u32>(&encoder, &texts, &allowed, threads, chunk, &|| false).unwrap();
                    assert!(cut.texts().eq(whole.iter().map(Vec::as_slice)), "{pattern} in chunks of {chunk}");
                }
            }
        }
    }
}

#[test]
fn an_interrupt_ends_the_encoding_of_many_texts() {
    let mut draw = Draw(23);
    let encoder = Encoder::new(vocab(&mut draw, 20, b"ab ", "gpt2"));
    let text = b"ab ".repeat(1 << 20);
    for threads in [1, 2] {
        let stopped = encode_all::<u16>(&encoder, &[&text], &Allowed::None, threads, &|| true);
        assert_eq!(stopped.unwrap_err().kind, pylm_rust::error::Kind::Interrupted);
    }
}

#[test]
fn a_compiled_vocabulary_encodes_as_the_one_it_was_made_from() {
    let folder = std::env::temp_dir().join(format!("pylm-compiled-{}", std::process::id()));
    let mut draw = Draw(29);
    // a source of less than 200 kB is not worth a file
    let source = vec![b'x'; 300_000];
    for (round, pattern) in ["gpt2", "o200k", r"(?s).+"].into_iter().enumerate() {
        let sample = hostile(&mut draw, 400);
        let number = [round as u8];
        let source = [source.as_slice(), &number];
        let made = std::cell::Cell::new(0);
        let read = || {
            made.set(made.get() + 1);
            // merges that nothing leads to make it irregular
            Ok(if round == 2 { vocab(&mut Draw(31), 90, b"abc \xff", pattern) } else { trained(&sample, 220, pattern) })
        };
        let open = || Encoder::cached(Some(&folder), &source, read).unwrap();
        let first = open();
        let mapped = open();
        assert_eq!(made.get(), 1, "the second was read from the file");
        assert_eq!(mapped.vocab.identity(), first.vocab.identity());
        assert_eq!(mapped.vocab.to_tokenizer_json(), first.vocab.to_tokenizer_json());
        assert_eq!(mapped.vocab.tokens, first.vocab.tokens);
        assert_eq!(mapped.vocab.merges, first.vocab.merges);
        let mut scratch = mapped.scratch();
        for _ in 0..20 {
            let text = hostile(&mut draw, 30);
            let (mut expected, mut found) = (Vec::new(), Vec::<u32>::new());
            first.encode_plainly(&text, &mut expected).unwrap();
            mapped.encode(&text, &mut scratch, &mut found).unwrap();
            assert_eq!(found, expected);
        }
        // damage of any kind is found, and the file made anew
        let path = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .max_by_key(|path| std::fs::metadata(path).unwrap().modified().unwrap());
        let path = path.unwrap();
        let good = std::fs::read(&path).unwrap();
        for at in [0, 20, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            let before = made.get();
            open();
            assert_eq!((made.get(), std::fs::read(&path).unwrap() == good), (before + 1, true), "damage at {at}");
        }
        for length in [0, 7, 16, good.len() / 2] {
            std::fs::write(&path, &good[..length]).unwrap();
            let before = made.get();
            open();
            assert_eq!(made.get(), before + 1, "cut to {length}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let unwritable = std::path::Path::new("/proc/nowhere");
    Encoder::cached(Some(unwritable), &[&source], || Ok(vocab(&mut draw, 20, b"ab ", "gpt2"))).unwrap();
}

/// Pre-tokens that are merged in windows, repeat themselves, or both, up to where something else follows.
#[test]
fn long_pieces_encode_as_merging_one_by_one_does() {
    let mut draw = Draw(37);
    let sample =
        "the then that there abcabcabcabc aaaaaaaaaaaaaaaaaaaaaaaa ababababab \u{e9}\u{e8}\u{4e2d}\u{6587}".repeat(3);
    let random: String = (0..3000).map(|_| char::from(b"abcdefghij"[draw.below(10)])).collect();
    let whole = r"(?s).+";
    let encoders = [
        Encoder::new(trained(format!("{sample}{random}").as_bytes(), 400, whole)),
        Encoder::new(trained(
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab".as_slice(),
            7,
            whole,
        )),
        // merges that nothing leads to make it irregular: neither windows nor repetitions may be joined
        Encoder::new(vocab(&mut draw, 60, b"abc", whole)),
    ];
    for encoder in &encoders {
        let mut scratch = encoder.scratch();
        for round in 0..60 {
            let alphabet: &[u8] = [b"abcdefghij".as_slice(), b"ab", b"the an", "\u{e9}\u{4e2d}a".as_bytes()][round % 4];
            let mut text = Vec::new();
            for _ in 0..=draw.below(3) {
                let unit: Vec<u8> = (0..=draw.below(70)).map(|_| alphabet[draw.below(alphabet.len())]).collect();
                match draw.below(3) {
                    0 => text.extend((0..draw.below(9000)).map(|_| alphabet[draw.below(alphabet.len())])),
                    _ => text.extend(unit.repeat(1 + draw.below(20_000) / unit.len())),
                }
            }
            let (mut found, mut expected) = (Vec::<u16>::new(), Vec::new());
            encoder.encode(&text, &mut scratch, &mut found).unwrap();
            encoder.encode_plainly(&text, &mut expected).unwrap();
            assert!(found.iter().map(|&id| u32::from(id)).eq(expected), "round {round}");
        }
    }
}

#[test]
fn threads_fill_one_array_whose_size_nobody_knew() {
    let mut draw = Draw(41);
    // a token a byte, three times as many as English has
    let encoder = Encoder::new(vocab(&mut draw, 3, b"xyz", "gpt2"));
    let texts: Vec<Vec<u8>> =
        (0..40).map(|_| (0..draw.below(9000)).map(|_| b"ab \n1!"[draw.below(6)]).collect()).collect();
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let one = encode_in_chunks::<u16>(&encoder, &texts, &Allowed::None, 1, 500, &|| false).unwrap();
    let four = encode_in_chunks::<u16>(&encoder, &texts, &Allowed::None, 4, 500, &|| false).unwrap();
    assert_eq!(one.ends.len(), texts.len());
    assert_eq!(one, four);
    for (ids, text) in one.texts().zip(&texts) {
        let mut expected = Vec::new();
        encoder.encode_plainly(text, &mut expected).unwrap();
        assert!(ids.iter().map(|&id| u32::from(id)).eq(expected));
    }
}

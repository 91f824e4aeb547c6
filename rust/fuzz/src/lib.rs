//! What must hold of any bytes. The fuzzer looks for those of which it does not; tests/properties.rs draws some.

use std::sync::{Arc, OnceLock};

use pylm_rust::bpe::encode::many::encode_in_chunks;
use pylm_rust::bpe::{Allowed, Encoder, Vocab};
use pylm_rust::clean::contamination::{Grams, Index, Item};
use pylm_rust::clean::repair::{repair, Repairs};
use pylm_rust::clean::{address, private};
use pylm_rust::id::is_narrow;
use pylm_rust::input::{Blocks, Input, Invalid, Options, Remote, Source};
use pylm_rust::pattern::{Named, Pattern, Variant};

/// A vocabulary whose merges are reached in these words, so that drawn text meets them.
const WORDS: &str =
    "the that then there these their  and an any  \n\n\n\n  internationalisation 1234567890 don't we'll \
                     中文字符的中文 été données ーーコーヒー aaaaaaaaaaaaaaaaaaaaaaaa ======================== 👍🏽👍🏽";

/// Narrow ids of four patterns, and wide ones, with tokens that merging does not lead to.
fn encoders() -> &'static [Encoder] {
    static ENCODERS: OnceLock<Vec<Encoder>> = OnceLock::new();
    ENCODERS.get_or_init(|| {
        let narrow = ["gpt2", "cl100k", "o200k", r"(?s).+"].map(|pattern| trained(WORDS.as_bytes(), 180, pattern));
        let wide = ["gpt2", "o200k"].map(|pattern| ranked(pattern, 70_000));
        narrow.into_iter().chain(wide).chain([ranked("cl100k", 1_000)]).map(Encoder::new).collect()
    })
}

/// The same merges as ranks, and tokens above them that no merge makes; `last` is the id of the special token.
fn ranked(pattern: &str, last: u32) -> Vocab {
    let mut ranks = trained(WORDS.as_bytes(), 180, pattern).to_ranks().expect("regular");
    // "internationalisation", "1212", " don't we", "\u{30fc}\u{30fc}\u{30b3}" and "=======" in base64
    let whole = ["aW50ZXJuYXRpb25hbGlzYXRpb24=", "MTIxMg==", "IGRvbid0IHdl", "44O844O844Kz", "PT09PT09PQ=="];
    for (rank, token) in (500..).zip(whole) {
        let line = format!("{token} {rank}\n");
        if !ranks.windows(token.len() + 1).any(|known| known == &line.as_bytes()[..=token.len()]) {
            ranks.extend(line.bytes());
        }
    }
    let pattern = Pattern::new(pattern).expect("a pattern of ours");
    let vocab = Vocab::from_ranks(&ranks, pattern, vec![("<|endoftext|>".into(), last)]).expect("ranks in order");
    assert!(vocab.whole_first, "no token is whole");
    vocab
}

/// The commonest pair each time, the least of equals: training as it is defined.
pub fn trained(text: &[u8], merges: usize, pattern: &str) -> Vocab {
    let order = |byte: &u8| u32::from(pylm_rust::bpe::alphabet::ORDER[usize::from(*byte)]);
    let mut ids: Vec<u32> = text.iter().map(order).collect();
    let mut pairs = Vec::new();
    while pairs.len() < merges {
        let mut counts = std::collections::BTreeMap::new();
        ids.windows(2).for_each(|pair| *counts.entry((pair[0], pair[1])).or_insert(0) += 1);
        let best = counts.iter().max_by_key(|(pair, count)| (**count, std::cmp::Reverse(**pair)));
        let Some((&best, _)) = best else { break };
        let made = 256 + pairs.len() as u32;
        pairs.push(best);
        let mut joined = Vec::new();
        let mut at = 0;
        while at < ids.len() {
            let here = at + 1 < ids.len() && (ids[at], ids[at + 1]) == best;
            joined.push(if here { made } else { ids[at] });
            at += 1 + usize::from(here);
        }
        ids = joined;
    }
    let pattern = Pattern::new(pattern).expect("a pattern of ours");
    Vocab::from_merges(pairs, vec!["<|endoftext|>".into()], pattern).expect("merges in order")
}

/// Encoding gives what plain merging gives, a second time too, in chunks too, and decoding gives the text back.
pub fn encode(data: &[u8]) {
    for encoder in encoders() {
        let mut expected = Vec::new();
        encoder.encode_plainly(data, &mut expected).unwrap();
        encoder.with_scratch(0, |scratch| {
            for _ in 0..2 {
                let mut wide = Vec::<u32>::new();
                encoder.encode(data, scratch, &mut wide).unwrap();
                assert_eq!(wide, expected);
                if is_narrow(encoder.vocab.size()) {
                    let mut narrow = Vec::<u16>::new();
                    encoder.encode(data, scratch, &mut narrow).unwrap();
                    assert!(narrow.iter().map(|&id| u32::from(id)).eq(expected.iter().copied()));
                }
            }
        });
        let chunk = 1 + data.first().map_or(0, |&byte| usize::from(byte));
        let cut = encode_in_chunks::<u32>(encoder, &[data], &Allowed::None, 1, chunk, &|| false);
        assert_eq!(cut.expect("nobody interrupts").ids, expected);
        let mut text = Vec::new();
        encoder.vocab.decode(expected, &mut text).expect("ids of this vocabulary");
        assert_eq!(text, data);
    }
}

/// Every scanner of every pattern cuts as its regex does.
pub fn scan(data: &[u8]) {
    static ORACLES: OnceLock<Vec<Pattern>> = OnceLock::new();
    let oracles = ORACLES
        .get_or_init(|| Named::ALL.iter().map(|named| Pattern::from_regex(named.regex()).expect("ours")).collect());
    let ends = |pattern: &Pattern| {
        let (mut start, mut batch, mut all) = (0, Vec::new(), Vec::new());
        while start < data.len() {
            let next = pattern.scan(data, start, &mut batch).unwrap();
            all.extend(batch.iter().map(|&end| start + end as usize));
            start = next;
        }
        all
    };
    for (named, oracle) in Named::ALL.into_iter().zip(oracles) {
        let expected = ends(oracle);
        for variant in Variant::available() {
            assert_eq!(ends(&Pattern::on(named, variant)), expected, "{} on {variant:?}", named.name());
        }
    }
}

/// Any file is a vocabulary or an error, and a vocabulary survives being written.
pub fn tokenizer_json(data: &[u8]) {
    if let Ok(vocab) = Vocab::from_tokenizer_json(data) {
        let again = Vocab::from_tokenizer_json(vocab.to_tokenizer_json().as_bytes()).expect("what we have written");
        assert_eq!(again.identity(), vocab.identity());
        encode_some(&Encoder::new(again));
    }
}

/// The same of ranks.
pub fn ranks(data: &[u8]) {
    let pattern = Pattern::new("gpt2").expect("ours");
    if let Ok(vocab) = Vocab::from_ranks(data, pattern, Vec::new()) {
        encode_some(&Encoder::new(vocab));
    }
}

/// Any bytes are an archive of texts, or an error.
pub fn tar(data: &[u8]) {
    read("any.tar", data);
}

/// Any bytes are records of the web, or an error.
pub fn warc(data: &[u8]) {
    read("any.wet", data);
}

/// Any bytes are a table, or an error; a comma that separates is none of a text's own.
pub fn csv(data: &[u8]) {
    let table = [b"id,text\n".as_slice(), data].concat();
    read("any.csv", &table);
    if !data.iter().any(|byte| b"\",\r\n".contains(byte)) {
        let text = String::from_utf8_lossy(data).into_owned();
        let wanted = if text.is_empty() { Vec::new() } else { vec![text] };
        assert_eq!(read("any.csv", &[b"text\n".as_slice(), data].concat()), Some(wanted));
    }
}

/// Any bytes are elements of an array, or an error.
pub fn json(data: &[u8]) {
    read("any.json", data);
    read("any.json", &[b"[".as_slice(), data, b"]"].concat());
}

/// Any text is mended, and has no control characters after; what is masked once holds no address; a text that is long
/// enough stands in itself; any text is an address of a page.
pub fn clean(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (mut mended, mut masked, mut found) = (String::new(), String::new(), Vec::new());
    repair(&text, &Repairs::default(), &mut mended);
    assert!(mended.chars().all(|c| !c.is_control() || "\n\t".contains(c)), "{mended:?}");
    private::find(&text, &mut found);
    private::mask(&text, &found, &mut masked);
    private::find(&masked, &mut found);
    assert!(found.is_empty(), "{masked:?}");
    let item = Item { answer: text.clone().into_owned(), ..Item::default() };
    let index = Index::new(3, Grams::Answer, [item]).expect("3 is a length");
    let has_a_gram = index.tasks()[0].items_with_a_gram == 1;
    assert_eq!(index.check(&text, &mut index.scratch()).is_some(), has_a_gram);
    assert_eq!(index.check(&text.to_uppercase(), &mut index.scratch()).is_some(), has_a_gram, "{text:?}");
    let mut lists = address::Lists::default();
    lists.urls.insert(text.clone().into_owned());
    assert!(address::Filter::new(lists, 2).expect("short lists").refuses(&text).is_some());
}

/// The documents of a file of that name; None where it is refused in a sentence.
fn read(name: &str, data: &[u8]) -> Option<Vec<String>> {
    let bytes = data.to_vec();
    let part = move |start: u64, length: u64| Ok(bytes[start as usize..(start + length) as usize].to_vec().into());
    let remote = Remote::new(name.into(), name.into(), data.len() as u64, "any".into(), part);
    let options = Options { invalid: Invalid::Replace, meta: true, ..Options::default() };
    let blocks = Input::of(&[Source::Elsewhere(Arc::new(remote))], options).and_then(|input| Blocks::new(&input));
    let blocks = blocks.expect("nothing is read yet");
    let mut found = Vec::new();
    loop {
        match blocks.next() {
            Ok(Some(block)) => {
                let texts = block.documents().map(|text| String::from_utf8(text.to_vec()).expect("checked"));
                found.extend(texts);
                assert!(block.notes.len() == block.segments.len() || block.notes.is_empty());
            }
            Ok(None) => return Some(found),
            Err(error) => {
                assert!(!error.message.is_empty());
                return None;
            }
        }
    }
}

/// A vocabulary that was accepted encodes without a panic, and back.
fn encode_some(encoder: &Encoder) {
    let (mut ids, mut text) = (Vec::<u32>::new(), Vec::new());
    encoder.encode(WORDS.as_bytes(), &mut encoder.scratch(), &mut ids).unwrap();
    encoder.vocab.decode(ids, &mut text).expect("its own ids");
    assert_eq!(text, WORDS.as_bytes());
}

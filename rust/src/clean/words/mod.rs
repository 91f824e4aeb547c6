//! Words of a text, in any script, and its sentences.
//!
//! Words are cut as spaCy's tokenizer for English cuts them, by scanners instead of regular expressions: at white space,
//! then what stands at the ends (quotes, brackets, full stops, units after numbers, `'s`), then where signs join two
//! words (`well-known`, `end.Next`). Contractions, abbreviations and emoticons are known by heart ([`special`]), addresses
//! of the web stay whole. The same holds for every language; in scripts that put no spaces between words each character
//! is a word, with the marks on it. docs/cleaning-rules.md lists what differs from spaCy.

mod address;
mod chunk;
pub mod class;
mod sentences;
mod special;

pub use chunk::Chunks;
pub use sentences::{sentences, Kind, Sentences};

/// How the words of a language are cut, as far as it matters to shingles and to lists of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// At spaces and signs.
    Spaced,
    /// Each character is a word.
    Characters,
}

const SCRIPTS: &str =
    "Hani Hans Hant Hanb Jpan Hira Kana Hrkt Bopo Thai Laoo Khmr Mymr Tibt Lana Talu Tavt Java Bali Tang Nshu";
const LANGUAGES: &str = "zh ja th lo km my bo dz zho cmn yue wuu nan hak jpn tha lao khm mya bod dzo";

impl Cut {
    /// Of `jpn_Jpan`, or of `ja`.
    pub fn of(language: &str) -> Cut {
        let (name, script) = language.split_once(['_', '-']).unwrap_or((language, ""));
        let listed = |list: &str, name: &str| list.split(' ').any(|listed| listed == name);
        let characters = if script.len() == 4 { listed(SCRIPTS, script) } else { listed(LANGUAGES, name) };
        if characters {
            Cut::Characters
        } else {
            Cut::Spaced
        }
    }
}

/// Appends the words of `text` to `out`, in order.
pub fn cut<'a>(text: &'a str, out: &mut Vec<&'a str>) {
    each(text, &mut Chunks::new(), |start, end| out.push(&text[start..end]));
}

/// Calls `word` with the start and the end of each word, in order.
#[inline]
pub fn each(text: &str, chunks: &mut Chunks, mut word: impl FnMut(usize, usize)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let space = space_length(bytes, at);
        if space > 0 {
            at += space;
            continue;
        }
        let end = at + letters(&bytes[at..]);
        if let Some(next) = chunks.plain(text, at, end) {
            word(at, end);
            if next > end {
                word(end, next);
            }
            at = next;
            continue;
        }
        let next = chunk_end(bytes, end);
        let mut start = at;
        for end in chunks.cut(&text[at..next]) {
            word(start, at + end);
            start = at + end;
        }
        at = next;
    }
}

/// How many ASCII letters `bytes` begin with.
#[inline(always)]
fn letters(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while let Some(eight) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*eight);
        let low = (word | EACH * 0x20) & EACH * 0x7f;
        let letter = (low + EACH * 0x1f) & !(low + EACH * 0x05) & !word & EACH * 0x80;
        let other = !letter & EACH * 0x80;
        if other != 0 {
            return at + other.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    at + bytes[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count()
}

#[inline(always)]
fn is_ascii_space(byte: u8) -> bool {
    byte == b' ' || matches!(byte, 0x09..=0x0d | 0x1c..=0x1f)
}

/// The length of the white space character at `at`, as Python's `isspace` knows them; 0 where there is none.
#[inline(always)]
pub fn space_length(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        byte if byte < 0x80 => usize::from(is_ascii_space(byte)),
        0xc2 if matches!(bytes[at + 1], 0x85 | 0xa0) => 2,
        0xe1..=0xe3 => match (bytes[at], bytes[at + 1], bytes[at + 2]) {
            (0xe1, 0x9a, 0x80) | (0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf) => 3,
            (0xe2, 0x81, 0x9f) | (0xe3, 0x80, 0x80) => 3,
            _ => 0,
        },
        _ => 0,
    }
}

/// Where the chunk that reaches `at` ends.
#[inline]
fn chunk_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() && space_length(bytes, at) == 0 {
        at += 1;
    }
    at
}

//! Any regex, through fancy-regex: the fallback for patterns of the user's own, and the oracle of the scanners.

use std::borrow::Cow;

use fancy_regex::{Regex, RegexBuilder};

use super::scan::{stop, LONGEST};
use crate::error::{Error, Result};

/// Pre-tokens a call returns at least, unless the text ends.
const BATCH: usize = 1 << 16;
/// A call also covers at least this share of what is left. The engine wants the whole text as checked UTF-8 in every
/// call; with batches of a fixed size a long text would be checked once per batch, which is quadratic.
const SHARE: usize = 32;
/// Steps back that one search may take: seconds. A pattern that repeats repeats may take more than the world will last.
const STEPS: usize = 1 << 25;

pub struct RegexScanner {
    regex: Regex,
}

impl RegexScanner {
    pub fn new(pattern: &str) -> Result<Self> {
        let regex = RegexBuilder::new(pattern).backtrack_limit(STEPS).build().map_err(|error| {
            let reason = error.to_string().replace('\n', " ");
            Error::usage(format!("the pattern {pattern:?} is not a regex that compiles: {reason}"))
                .hint("name one of gpt2, cl100k, llama3, qwen2, o200k, or correct the regex")
        })?;
        Ok(Self { regex })
    }

    pub fn as_str(&self) -> &str {
        self.regex.as_str()
    }

    /// See [`super::Pattern::scan`].
    pub fn scan(&self, bytes: &[u8], start: usize, ends: &mut Vec<u32>) -> Result<usize> {
        ends.clear();
        let limit = BATCH.max((bytes.len() - start) / SHARE);
        let (text, invalid) = decode(bytes);
        // Positions in `bytes` are those in `text`, less two for every invalid byte before.
        let mut skipped = invalid.iter().enumerate().take_while(|(k, at)| **at - 2 * k < start).count();
        let mut from = start + 2 * skipped;
        let mut done = start;
        while ends.len() < limit && done < bytes.len() {
            let found = self.regex.find_from_pos(text.as_ref(), from).map_err(|error| self.gives_up(done, &error))?;
            let (first, last) = found.map_or((text.len(), text.len()), |found| (found.start(), found.end()));
            for position in [first, last] {
                skipped += invalid[skipped..].iter().take_while(|at| **at < position).count();
                let position = position - 2 * skipped;
                if position > done {
                    if position - start > u32::MAX as usize {
                        return Ok(stop(bytes, start, start + LONGEST, ends));
                    }
                    ends.push((position - start) as u32);
                    done = position;
                }
            }
            // After an empty match the search moves on by a character: it ended the text before it, nothing more.
            from = last + if first == last { text[last..].chars().next().map_or(0, char::len_utf8) } else { 0 };
        }
        Ok(done)
    }

    /// The engine keeps a stack of a million places to go back to, and counts its steps. What it finds in a short text it
    /// may not find in a long one, so that its giving up can be no result.
    fn gives_up(&self, at: usize, error: &fancy_regex::Error) -> Error {
        let pattern: String = self.regex.as_str().chars().take(80).collect();
        let reason = error.to_string().replace('\n', " ");
        Error::tokenizer(format!("the pattern {pattern:?} cannot be followed in the text from byte {at} on: {reason}")).hint(
            "a repeat inside a repeat, or one that looks far ahead, takes too many steps back; take gpt2 or another name",
        )
    }
}

/// The text with U+FFFD for every invalid byte, and where in it these are.
fn decode(bytes: &[u8]) -> (Cow<'_, str>, Vec<usize>) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return (Cow::Borrowed(text), Vec::new());
    }
    let mut text = String::with_capacity(bytes.len() + bytes.len() / 8);
    let mut invalid = Vec::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for _ in chunk.invalid() {
            invalid.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    (Cow::Owned(text), invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn pieces<'a>(pattern: &str, text: &'a [u8]) -> Vec<&'a [u8]> {
        let scanner = RegexScanner::new(pattern).unwrap();
        let (mut start, mut ends, mut pieces) = (0, Vec::new(), Vec::new());
        while start < text.len() {
            let next = scanner.scan(text, start, &mut ends).unwrap();
            let mut from = start;
            for end in &ends {
                pieces.push(&text[from..start + *end as usize]);
                from = start + *end as usize;
            }
            assert_eq!(from, next);
            start = next;
        }
        pieces
    }

    #[test]
    fn text_between_matches_is_a_piece_too() {
        assert_eq!(pieces(r"\d+", b"ab12cd3"), [&b"ab"[..], b"12", b"cd", b"3"]);
        assert_eq!(pieces(r"\d+", b"abc"), [b"abc"]);
        assert_eq!(pieces(r"(?<=a)b", b"abb"), [&b"a"[..], b"b", b"b"]);
    }

    #[test]
    fn empty_matches_cut_and_do_not_loop() {
        assert_eq!(pieces("x*", b"axxb"), [&b"a"[..], b"xx", b"b"]);
        assert_eq!(pieces("", "äb".as_bytes()), ["ä".as_bytes(), b"b"]);
        assert_eq!(pieces("$", b"ab"), [b"ab"]);
    }

    #[test]
    fn an_invalid_byte_is_a_symbol_of_one_byte() {
        let text = b"a\xff\xe2\x82 \xc3\xa9\xed\xa0\x80b";
        assert_eq!(pieces(r"\p{L}+", text), [&b"a"[..], b"\xff\xe2\x82 ", b"\xc3\xa9", b"\xed\xa0\x80", b"b"]);
        assert_eq!(pieces(".", b"\xff\xfe\xe2\x82"), [[0xff], [0xfe], [0xe2], [0x82]]);
    }

    #[test]
    fn batches_join_without_a_seam() {
        let text: Vec<u8> = b"one \xff2 three ".iter().copied().cycle().take(1_300_003).collect();
        let whole = pieces(r"\w+|\W", &text);
        assert!(whole.len() > 3 * BATCH);
        assert_eq!(whole.concat(), text);
        let one = pieces(r"\w+|\W", &text[..13]);
        assert!(whole.chunks(one.len()).take(1000).all(|chunk| chunk == one), "{one:?}");
    }

    #[test]
    fn an_engine_that_gives_up_is_an_error_and_no_pre_token() {
        let (short, long) = ("a".repeat(500), "a".repeat(1_200_000));
        for (pattern, text) in [(r"(?:a(?=.))*b|\w|\s", long), (r"(a*)*\1b", short)] {
            let error =
                RegexScanner::new(pattern).unwrap().scan(text.as_bytes(), 0, &mut Vec::new()).expect_err(pattern);
            assert_eq!(error.kind, Kind::Tokenizer);
            assert!(error.message.contains("from byte 0 on") && !error.message.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_regex_that_does_not_compile_is_one_usage_error() {
        let error = RegexScanner::new("(a").err().unwrap();
        assert_eq!(error.kind, Kind::Usage);
        assert!(!error.message.contains('\n') && error.message.contains("(a"), "{error}");
    }
}

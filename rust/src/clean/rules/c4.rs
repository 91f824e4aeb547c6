//! C4: lines that are no sentences are dropped, documents with signs of code or of filling text go.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::counted::Words;
use super::keys::place;
use super::lines::{characters, python_lines};
use super::Measures;
use crate::clean::words::class::{is_decimal, Classes, SPACE};
use crate::clean::words::{each, Chunks, Kind, Sentences};

const LOREM_IPSUM: &str = "lorem ipsum";
const JAVASCRIPT: &str = "javascript";
const POLICY: [&str; 6] =
    ["terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies"];
const ENDS: [char; 5] = ['.', '?', '!', '"', '\''];
/// The one character that becomes an ASCII letter of those phrases in lower case.
const KELVIN: &str = "\u{212a}";

/// Any of the phrases, in any case: whether lines must be looked at one by one.
static PHRASES: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let phrases = [LOREM_IPSUM, JAVASCRIPT].into_iter().chain(POLICY);
    AhoCorasick::builder().ascii_case_insensitive(true).build(phrases).expect("eight phrases")
});

/// How lines are dropped; None or false is off.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub longest_word: Option<f64>,
    pub citations: bool,
    pub terminal_punctuation: bool,
    pub fewest_words: Option<f64>,
    pub javascript: bool,
    pub policy: bool,
}

/// What a text becomes; kept between texts.
#[derive(Default)]
pub struct Rewriter {
    /// The lines that stay.
    pub text: String,
    /// How many words they have.
    pub words: usize,
    line: String,
    chunks: Option<Chunks>,
}

/// Counts of one text.
#[derive(Default)]
struct Found {
    lines: usize,
    dropped: usize,
    sentences: usize,
    /// The first line with filling text, and the first with a curly bracket, from one on.
    lorem_ipsum: Option<usize>,
    curly_bracket: Option<usize>,
}

/// What is known of one line before it is looked at.
struct Line<'a> {
    text: &'a str,
    words: usize,
    /// How many words between white space.
    chunks: usize,
    sentences: usize,
}

impl<'a> Line<'a> {
    /// Steps over the words before `end`.
    fn of(line: &'a str, end: usize, words: &Words, word: &mut usize, text: &str) -> Self {
        let (first, mut chunks, mut last) = (*word, 0, None);
        let mut sentences = Sentences::default();
        while *word < words.count() {
            let (start, stop, kind) = words.place(*word);
            if start >= end {
                break;
            }
            let space = &text.as_bytes()[last.unwrap_or(start)..start];
            chunks += usize::from(last != Some(start));
            sentences.word(kind, space);
            last = Some(stop);
            *word += 1;
        }
        Self { text: line, words: *word - first, chunks, sentences: sentences.count(b"") }
    }
}

impl Rewriter {
    /// Takes the measures and keeps the text that stays, with its count of words.
    pub fn measure(&mut self, text: &str, words: &Words, options: &Options, out: &mut Measures) {
        self.text.clear();
        self.words = 0;
        let classes = Classes::get();
        let phrases = PHRASES.is_match(text) || text.contains(KELVIN);
        let cited = options.citations && memchr::memchr(b'[', text.as_bytes()).is_some();
        let curly = memchr::memchr(b'{', text.as_bytes()).is_some();
        let mut found = Found::default();
        let mut word = 0;
        for whole in python_lines(text) {
            found.lines += 1;
            let end = whole.as_ptr() as usize - text.as_ptr() as usize + whole.len();
            let line = Line::of(classes.strip(whole), end, words, &mut word, text);
            if !self.line(&line, options, (phrases, cited, curly), &mut found) {
                found.dropped += 1;
            }
        }
        let start = self.text.len() - classes.strip_start(&self.text).len();
        self.text.drain(..start);
        self.text.truncate(classes.strip(&self.text).len());
        found.measures(out);
    }

    /// Whether the line stays: then it is appended.
    fn line(
        &mut self,
        line: &Line<'_>,
        options: &Options,
        (phrases, cited, curly): (bool, bool, bool),
        found: &mut Found,
    ) -> bool {
        let long = |most: f64| line.text.len() as f64 > most && has_longer_word(line.text, most);
        if options.longest_word.is_some_and(long) {
            return false;
        }
        self.line.clear();
        let edited = cited && without_citations(line.text, &mut self.line);
        let text = if edited { self.line.as_str() } else { line.text };
        if options.terminal_punctuation && (!text.ends_with(ENDS) || text.ends_with("...")) {
            return false;
        }
        if options.fewest_words.is_some_and(|fewest| (line.chunks as f64) < fewest) {
            return false;
        }
        if (phrases || edited || curly) && !may_stay(text, options, found) {
            return false;
        }
        let (sentences, count) = if edited {
            counted(text, self.chunks.get_or_insert_with(Chunks::new))
        } else {
            (line.sentences, line.words)
        };
        found.sentences += sentences;
        if found.lines - found.dropped > 1 {
            self.text.push('\n');
        }
        self.text.push_str(text);
        self.words += count;
        true
    }
}

impl Found {
    fn measures(&self, out: &mut Measures) {
        // The place of the first line that has it, turned over: of two rules the one that was met first removes.
        let first = |line: Option<usize>| line.map_or(0.0, |line| 1.0 / line as f64);
        out.set(place("c4.lorem_ipsum"), first(self.lorem_ipsum));
        out.set(place("c4.curly_bracket"), first(self.curly_bracket));
        out.set(place("c4.sentences"), self.sentences as f64);
        out.set(place("c4.lines"), self.lines as f64);
        out.set(place("c4.lines_dropped"), self.dropped as f64);
    }
}

fn has_longer_word(line: &str, most: f64) -> bool {
    let classes = Classes::get();
    line.split(|character| classes.of(character) & SPACE != 0).any(|word| characters(word) as f64 > most)
}

/// Phrases and brackets, in the order of the original: some drop the line, two are noted and remove the document.
fn may_stay(line: &str, options: &Options, found: &mut Found) -> bool {
    let lower = line.to_lowercase();
    if lower.contains(LOREM_IPSUM) {
        found.lorem_ipsum.get_or_insert(found.lines);
    }
    if options.javascript && lower.contains(JAVASCRIPT) {
        return false;
    }
    if line.contains('{') {
        found.curly_bracket.get_or_insert(found.lines);
    }
    !(options.policy && POLICY.iter().any(|phrase| lower.contains(phrase)))
}

/// Writes `line` without `[12]`, `[edit]` and `[citation needed]`; whether there were any.
fn without_citations(line: &str, out: &mut String) -> bool {
    let mut from = 0;
    for at in memchr::memchr_iter(b'[', line.as_bytes()) {
        if let Some(length) = citation(&line[at + 1..]) {
            out.push_str(&line[from..at]);
            from = at + 1 + length;
        }
    }
    out.push_str(&line[from..]);
    from > 0
}

/// The length of what ends a citation whose bracket is open.
fn citation(rest: &str) -> Option<usize> {
    let named = ["edit]", "citation needed]"].iter().find(|name| rest.starts_with(**name));
    named.map(|name| name.len()).or_else(|| {
        let after = rest.trim_start_matches(is_decimal);
        after.starts_with(']').then(|| rest.len() - after.len() + 1)
    })
}

/// Sentences and words of a line that was changed.
fn counted(line: &str, chunks: &mut Chunks) -> (usize, usize) {
    let (mut sentences, mut last, mut count) = (Sentences::default(), 0, 0);
    each(line, chunks, |start, end| {
        sentences.word(Kind::of(&line[start..end], Classes::get()), &line.as_bytes()[last..start]);
        last = end;
        count += 1;
    });
    (sentences.count(&line.as_bytes()[last..]), count)
}

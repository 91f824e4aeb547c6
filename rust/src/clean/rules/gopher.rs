//! Gopher's quality: how many words, how long, of what, and how lines begin and end.

use memchr::memmem;

use super::counted::Words;
use super::keys::place;
use super::lines::python_lines;
use super::Measures;
use crate::clean::words::class::{Classes, SPACE};

/// Takes the measures of `text`, whose words are `words`, `stop_words` distinct ones of them stop words. A text without
/// words has only counts.
pub fn measure(text: &str, words: &Words, stop_words: usize, out: &mut Measures) {
    let counts = words.counts;
    out.set(place("gopher.word_count"), counts.solid as f64);
    out.set(place("gopher.stop_words"), stop_words as f64);
    if counts.solid > 0 {
        out.set(place("gopher.mean_word_length"), counts.solid_characters as f64 / counts.solid as f64);
    }
    if words.count() == 0 {
        return;
    }
    let all = words.count() as f64;
    out.set(place("gopher.hash_ratio"), bytecount(text.as_bytes(), b'#') as f64 / all);
    out.set(place("gopher.ellipsis_ratio"), ellipses(text.as_bytes()) as f64 / all);
    out.set(place("gopher.alphabetic_words"), counts.alphabetic as f64 / all);
    let lines = Lines::of(text);
    out.set(place("gopher.bullet_lines"), lines.bullets as f64 / lines.all as f64);
    out.set(place("gopher.ellipsis_lines"), lines.ellipses as f64 / lines.all as f64);
}

/// How often `byte` stands there.
fn bytecount(bytes: &[u8], byte: u8) -> usize {
    // Parts so short that a byte holds the count: this the compiler turns into vectors.
    bytes.chunks(255).map(|part| usize::from(part.iter().fold(0u8, |sum, other| sum + u8::from(*other == byte)))).sum()
}

fn ellipses(bytes: &[u8]) -> usize {
    memmem::find_iter(bytes, b"...").count() + memmem::find_iter(bytes, "…".as_bytes()).count()
}

#[derive(Default)]
struct Lines {
    all: usize,
    bullets: usize,
    ellipses: usize,
}

impl Lines {
    fn of(text: &str) -> Self {
        let classes = Classes::get();
        let space = |character: char| classes.of(character) & SPACE != 0;
        let mut lines = Lines::default();
        for line in python_lines(text) {
            lines.all += 1;
            let begun = line.trim_start_matches(space);
            lines.bullets += usize::from(begun.starts_with('-') || begun.starts_with('•'));
            let ended = begun.trim_end_matches(space);
            lines.ellipses += usize::from(ended.ends_with("...") || ended.ends_with('…'));
        }
        lines
    }
}

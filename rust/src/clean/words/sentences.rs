//! Sentences, as spaCy's sentencizer counts them: one begins with the first word after an ending sign that is not
//! punctuation itself.

use super::class::{Classes, ENDER, UNICODE_PUNCTUATION};
use super::{each, Chunks};

/// What a word is to the sentencizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sign that ends a sentence.
    Ender,
    /// Other punctuation: belongs to the sentence before it.
    Sign,
    Word,
}

impl Kind {
    #[inline]
    pub fn of(word: &str, classes: &Classes) -> Kind {
        let mut characters = word.chars();
        let Some(first) = characters.next() else { return Kind::Word };
        let class = classes.of(first);
        if class & ENDER != 0 && characters.as_str().is_empty() {
            return Kind::Ender;
        }
        let sign = |character| classes.of(character) & UNICODE_PUNCTUATION != 0;
        if class & UNICODE_PUNCTUATION != 0 && characters.all(sign) {
            Kind::Sign
        } else {
            Kind::Word
        }
    }
}

/// Counts sentences from words in order.
#[derive(Debug, Default, Clone, Copy)]
pub struct Sentences {
    ended: bool,
    begun: usize,
}

impl Sentences {
    /// `space` is what stands between the word before and this one: more than one space is a word to spaCy.
    #[inline(always)]
    pub fn word(&mut self, kind: Kind, space: &[u8]) {
        self.space(space);
        match kind {
            Kind::Ender => self.ended = true,
            Kind::Word if self.ended => self.begin(),
            Kind::Word | Kind::Sign => {}
        }
    }

    /// The count, with the white space at the end of the text.
    pub fn count(mut self, space: &[u8]) -> usize {
        self.space(space);
        self.begun + 1
    }

    #[inline(always)]
    fn space(&mut self, space: &[u8]) {
        if self.ended && !matches!(space, b"" | b" ") {
            self.begin();
        }
    }

    #[inline(always)]
    fn begin(&mut self) {
        self.begun += 1;
        self.ended = false;
    }
}

/// How many sentences `text` has; one where it has none.
pub fn sentences(text: &str) -> usize {
    let classes = Classes::get();
    let (mut counted, mut last) = (Sentences::default(), 0);
    each(text, &mut Chunks::new(), |start, end| {
        counted.word(Kind::of(&text[start..end], classes), &text.as_bytes()[last..start]);
        last = end;
    });
    counted.count(&text.as_bytes()[last..])
}

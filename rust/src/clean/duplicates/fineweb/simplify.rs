//! What datatrove's `simplify_text` makes of a text, character by character: lower case, numbers as 0, punctuation and
//! white space as one space, no diacritics.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};
use unicode_normalization::UnicodeNormalization;

/// The characters that datatrove calls punctuation; some of what looks like it is missing, as the dash of this range.
const PUNCTUATION: &[(u32, u32)] = &[
    (0x0, 0x8),
    (0xb, 0x1f),
    (0x21, 0x2f),
    (0x3a, 0x40),
    (0x5b, 0x60),
    (0x7b, 0x9f),
    (0xab, 0xab),
    (0xb4, 0xb4),
    (0xbb, 0xbb),
    (0x2013, 0x2014),
    (0x2019, 0x2019),
    (0x201c, 0x201e),
    (0x2026, 0x2026),
    (0x2236, 0x2236),
    (0x2501, 0x2501),
    (0x25ba, 0x25ba),
    (0x3001, 0x3002),
    (0x3008, 0x300d),
    (0x3010, 0x3011),
    (0xff01, 0xff01),
    (0xff05, 0xff05),
    (0xff08, 0xff09),
    (0xff0c, 0xff0c),
    (0xff0e, 0xff0e),
    (0xff11, 0xff11),
    (0xff1a, 0xff1b),
    (0xff1f, 0xff1f),
    (0xff5e, 0xff5e),
];
const DIGIT: u8 = 1;
const MARK: u8 = 2;
const PUNCTUATION_OR_CONTROL: u8 = 4;

static CLASSES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut classes = vec![0; 0x11_0000];
    for (class, source) in [(DIGIT, r"\p{Nd}"), (MARK, r"\p{Mn}")] {
        let hir = regex_syntax::parse(source).expect("a class of the regex engine");
        let HirKind::Class(Class::Unicode(ranges)) = hir.kind() else { unreachable!("{source} is a class") };
        for range in ranges.iter() {
            classes[range.start() as usize..=range.end() as usize].fill(class);
        }
    }
    for &(first, last) in PUNCTUATION {
        classes[first as usize..=last as usize].iter_mut().for_each(|class| *class |= PUNCTUATION_OR_CONTROL);
    }
    classes
});

fn is(c: char, class: u8) -> bool {
    CLASSES[c as usize] & class != 0
}

/// Between the two parts of a number.
fn is_decimal(c: char) -> bool {
    matches!(c, '.' | ',' | '،' | '٫' | '⎖' | '⎗' | '⎘')
}

/// Fills `simple` with a text simplified; `spaced` is used on the way.
pub fn simplify(text: &str, spaced: &mut String, simple: &mut String) {
    spaced.clear();
    simple.clear();
    if text.is_ascii() {
        words_of(text.bytes().map(|byte| byte.to_ascii_lowercase() as char), simple);
        return;
    }
    words_of(text.to_lowercase().chars(), spaced);
    simple.extend(spaced.nfd().filter(|c| !is(*c, MARK)));
    let kept = simple.trim_end().len();
    simple.truncate(kept);
    let begun = simple.len() - simple.trim_start().len();
    simple.drain(..begun);
}

/// Words with one space between them, numbers as 0.
fn words_of(text: impl Iterator<Item = char> + Clone, to: &mut String) {
    let mut rest = text;
    let mut is_first = true;
    let mut gap = false;
    while let Some(c) = rest.next() {
        if c.is_whitespace() || is(c, PUNCTUATION_OR_CONTROL) {
            gap = true;
            continue;
        }
        if gap && !is_first {
            to.push(' ');
        }
        (gap, is_first) = (false, false);
        if is(c, DIGIT) {
            to.push('0');
            skip_number(&mut rest);
        } else {
            to.push(c);
        }
    }
}

/// Skips the digits of a number, and a decimal part where there is one.
fn skip_number(rest: &mut (impl Iterator<Item = char> + Clone)) {
    skip_digits(rest);
    let mut ahead = rest.clone();
    if ahead.next().is_some_and(is_decimal) && ahead.next().is_some_and(|c| is(c, DIGIT)) {
        skip_digits(&mut ahead);
        *rest = ahead;
    }
}

fn skip_digits(rest: &mut (impl Iterator<Item = char> + Clone)) {
    loop {
        let mut ahead = rest.clone();
        if !ahead.next().is_some_and(|c| is(c, DIGIT)) {
            return;
        }
        *rest = ahead;
    }
}

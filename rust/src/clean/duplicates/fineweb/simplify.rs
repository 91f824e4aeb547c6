//! What datatrove's `simplify_text` makes of a text, character by character: lower case, numbers as 0, punctuation and
//! white space as one space, no diacritics.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};
use unicode_normalization::char::{canonical_combining_class, decompose_canonical};
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
/// Its own decomposition, which nothing moves beyond, and no mark.
const WHOLE: u8 = 8;

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
        for class in &mut classes[first as usize..=last as usize] {
            *class |= PUNCTUATION_OR_CONTROL;
        }
    }
    for c in '\0'..=char::MAX {
        let class = &mut classes[c as usize];
        if *class & MARK == 0 && (c > LAST_DECOMPOSED || is_whole(c)) {
            *class |= WHOLE;
        }
    }
    classes
});

/// No character of later planes has a decomposition or a combining class.
const LAST_DECOMPOSED: char = '\u{2ffff}';

fn is_whole(c: char) -> bool {
    let mut is_itself = true;
    decompose_canonical(c, |part| is_itself &= part == c);
    is_itself && canonical_combining_class(c) == 0
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
        spaced.push_str(text);
        spaced.make_ascii_lowercase();
        words_of(spaced, simple);
        return;
    }
    words_of(&text.to_lowercase(), spaced);
    decompose(spaced, simple);
    let kept = simple.trim_end().len();
    simple.truncate(kept);
    let begun = simple.len() - simple.trim_start().len();
    simple.drain(..begun);
}

/// Appends a text's canonical decomposition without its diacritics. Most characters are copied, and marks move nothing
/// but each other: so they are dropped before.
fn decompose(text: &str, to: &mut String) {
    let classes = &**CLASSES;
    let is = |c: char, class: u8| classes[c as usize] & class != 0;
    let mut rest = text;
    while !rest.is_empty() {
        let whole = rest.find(|c| !is(c, WHOLE)).unwrap_or(rest.len());
        to.push_str(&rest[..whole]);
        rest = &rest[whole..];
        let others = rest.find(|c| is(c, WHOLE)).unwrap_or(rest.len());
        to.extend(rest[..others].chars().filter(|c| !is(*c, MARK)).nfd().filter(|c| !is(*c, MARK)));
        rest = &rest[others..];
    }
}

/// Appends words with one space between them, numbers as 0.
fn words_of(text: &str, to: &mut String) {
    let classes = &**CLASSES;
    let (mut at, mut gap) = (0, false);
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() || classes[c as usize] & PUNCTUATION_OR_CONTROL != 0 {
            (at, gap) = (at + c.len_utf8(), true);
            continue;
        }
        if std::mem::take(&mut gap) && !to.is_empty() {
            to.push(' ');
        }
        if classes[c as usize] & DIGIT != 0 {
            to.push('0');
            at = number_end(text, at, classes);
        } else {
            let letters = text.as_bytes()[at..].iter().take_while(|byte| byte.is_ascii_lowercase()).count();
            let end = at + letters.max(c.len_utf8());
            to.push_str(&text[at..end]);
            at = end;
        }
    }
}

/// Where the digits from `start` on end, and a decimal part where there is one.
fn number_end(text: &str, start: usize, classes: &[u8]) -> usize {
    let digits = |from: usize| {
        let is_digit = |c: &char| classes[*c as usize] & DIGIT != 0;
        from + text[from..].chars().take_while(is_digit).map(char::len_utf8).sum::<usize>()
    };
    let end = digits(start);
    let Some(decimal) = text[end..].chars().next().filter(|c| is_decimal(*c)) else { return end };
    let fraction = end + decimal.len_utf8();
    match digits(fraction) {
        last if last > fraction => last,
        _ => end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_is_its_own_decomposition() {
        for c in '\0'..=char::MAX {
            let text = String::from_iter(['\u{323}', c, '\u{301}', '\u{e9}', c, c]);
            let mut found = String::new();
            decompose(&text, &mut found);
            assert!(found.chars().eq(text.nfd().filter(|c| CLASSES[*c as usize] & MARK == 0)), "{c:?}");
        }
    }
}

//! Whether a line looks like mojibake: pairs of characters that people hardly write side by side. The rules are ftfy
//! 6.3.1's `BADNESS_RE`, as comparisons of categories.

use super::categories::{
    categories, BAD, BOX, C1, COMMON, CURRENCY, END, KAOMOJI, LAW, LOWER, LOWER_COMMON, NUMERIC, START, UPPER,
    UPPER_COMMON,
};
use crate::clean::private::word::is_word;

pub fn is_bad(text: &[char]) -> bool {
    (0..text.len()).any(|at| {
        let here = categories(text[at]);
        let is_known = here != 0 || matches!(text[at], '×' | '√' | '≈' | 'ў');
        is_known && (is_bad_pair(text, at, here) || is_bad_spelling(text, at))
    })
}

fn in_category(text: &[char], at: usize, mask: u16) -> bool {
    text.get(at).is_some_and(|&c| categories(c) & mask != 0)
}

/// The rules that speak of categories.
fn is_bad_pair(text: &[char], at: usize, here: u16) -> bool {
    const MARKED: u16 = LOWER | UPPER | BOX | START | END | CURRENCY | NUMERIC | LAW;
    /// Each of the first before each of the second.
    const PAIRS: [(u16, u16); 10] = [
        (MARKED | BAD, BAD),
        (BAD, MARKED),
        (LOWER | LOWER_COMMON | BOX | END | CURRENCY | NUMERIC, UPPER),
        (BOX | END | CURRENCY | NUMERIC, LOWER),
        (LOWER | BOX | END, CURRENCY),
        (UPPER | BOX, NUMERIC | LAW),
        (CURRENCY | NUMERIC | BOX, START),
        (BOX, KAOMOJI),
        (LOWER | UPPER | CURRENCY | NUMERIC | START | END | LAW, BOX),
        (BOX, END),
    ];
    if here & C1 != 0 {
        return true;
    }
    let next = text.get(at + 1).map_or(0, |&c| categories(c));
    if PAIRS.iter().any(|(first, second)| here & first != 0 && next & second != 0) {
        return true;
    }
    let before = at.checked_sub(1).map(|last| text[last]);
    let after_letter = |is: fn(&char) -> bool| before.as_ref().is_some_and(is);
    let third = |mask| in_category(text, at + 2, mask);
    (here & (LOWER_COMMON | UPPER_COMMON) != 0 && next & BAD != 0 && after_letter(char::is_ascii_alphabetic))
        || (here & UPPER != 0 && next & CURRENCY != 0 && after_letter(|c| is_space(*c)))
        || (here & UPPER != 0 && next & (START | CURRENCY) != 0 && after_letter(char::is_ascii_lowercase))
        || (here & (LOWER | UPPER | BOX | CURRENCY | END) != 0 && next & START != 0 && third(NUMERIC))
        || (here & (LOWER | UPPER | CURRENCY | NUMERIC | BOX | LAW) != 0 && next & END != 0 && third(START))
        || (here & (LOWER | UPPER) != 0 && next & (START | END) != 0 && text.get(at + 2).is_some_and(|&c| is_word(c)))
}

/// Python's `\s`.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// The rules that speak of single characters.
fn is_bad_spelling(text: &[char], at: usize) -> bool {
    let is = |at: usize, any: &str| text.get(at).is_some_and(|&c| any.contains(c));
    let has = |at: usize, mask: u16| in_category(text, at, mask);
    let before = |back: usize, is: &dyn Fn(char) -> bool| at.checked_sub(back).is_some_and(|last| is(text[last]));
    let lower = |c: char| c.is_ascii_lowercase();
    if has(at, UPPER) && is(at + 1, "°") {
        return true;
    }
    match text[at] {
        'Œ' | 'œ' => text.get(at + 1).is_some_and(|c| !c.is_ascii_alphabetic()),
        '×' => is(at + 1, "²³"),
        'à' => is(at + 1, "²µ¹¼½¾"),
        '√' => is(at + 1, "±∂†≠®™´≤≥¥µø"),
        '≈' => is(at + 1, "°¢"),
        '‚' => (is(at + 1, "Ä") && is(at + 2, "ìîïòôúùû†°¢π")) || (is(at + 1, "âó") && is(at + 2, "àä°ê")),
        'в' => is(at + 1, "Ђ"),
        'ā' => is(at + 1, "€"),
        'β' => is(at + 1, "€") && is(at + 2, "™\u{a0}Ά\u{ad}®°"),
        'Ø' | 'Ù' => is_arabic_byte(text, at) && is_arabic_byte(text, at + 2),
        'В' | 'Г' | 'Р' | 'С' => {
            let follows = has(at + 1, C1 | BAD | START | END | CURRENCY) || is(at + 1, "°µ");
            (follows && is(at + 2, "ВГРС")) || is_twice_misread(text, at)
        }
        'Β' | 'Γ' | 'Ξ' | 'Ο' => {
            (has(at + 1, C1 | BAD | START | END | CURRENCY) || is(at + 1, "°")) && is(at + 2, "ΒΓΞΟ")
        }
        'Â' | 'Ã' | 'Î' | 'Ð' => {
            let is_a = matches!(text[at], 'Â' | 'Ã');
            let at_word = at == 0 || before(1, &lower) || (before(1, &is_space) && before(2, &lower));
            let ends = |c: char| lower(c) || ".,?!".contains(c) || categories(c) & END != 0;
            is(at + 1, "€œŠš¢£Ÿž\u{a0}\u{ad}®©°·»–—´")
                || has(at + 1, START | END)
                || (text[at] == 'Ã' && is(at + 1, "\u{a0}¡"))
                || (is_a && at_word && is(at + 1, " "))
                || (text[at] == 'Â' && before(1, &ends) && (is(at + 1, " ") || has(at + 1, START | END)))
        }
        _ => false,
    }
}

/// `Ø` or `Ù`, and what the second byte of an Arabic letter becomes.
fn is_arabic_byte(text: &[char], at: usize) -> bool {
    let is_first = matches!(text.get(at), Some('Ø' | 'Ù'));
    let second = COMMON | CURRENCY | BAD | NUMERIC | START;
    is_first && (in_category(text, at + 1, second) || text.get(at + 1).is_some_and(|&c| "ŸŠ®°µ»".contains(c)))
}

/// `ГўВЂВ.[A-Za-z ]`: Windows-1252 misread as latin-1 and then as Windows-1251.
fn is_twice_misread(text: &[char], at: usize) -> bool {
    text[at..].starts_with(&['Г', 'ў', 'В', 'Ђ', 'В'])
        && text.get(at + 5).is_some_and(|&c| c != '\n')
        && text.get(at + 6).is_some_and(|&c| c == ' ' || c.is_ascii_alphabetic())
}

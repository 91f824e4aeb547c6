//! Whether a word is an address of the web, which stays whole.

use super::class::{Classes, LOWER};

/// As spaCy's pattern has it, but for plain IP addresses: a name of letters, digits and inner hyphens with a last part
/// of two or more lower-case letters, after an optional scheme and user, before an optional port and path.
pub fn is_address(word: &str, classes: &Classes) -> bool {
    if !word.as_bytes().contains(&b'.') {
        return false;
    }
    host(word, classes)
        || after_scheme(word).is_some_and(|rest| host(rest, classes))
        || word.match_indices('@').any(|(at, _)| at > 0 && host(&word[at + 1..], classes))
}

fn after_scheme(word: &str) -> Option<&str> {
    let (scheme, rest) = word.split_once("://")?;
    let named = |character: char| character.is_alphanumeric() || matches!(character, '_' | '+' | '-' | '.');
    (scheme.chars().count() >= 2 && scheme.chars().all(named)).then_some(rest)
}

/// Whether `text` is a host with what may follow it.
fn host(text: &str, classes: &Classes) -> bool {
    let (mut part, mut parts) = (0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '.' => {
                if !is_part(&text[part..at]) {
                    return false;
                }
                (part, parts) = (at + 1, parts + 1);
            }
            ':' | '/' | '?' | '#' => {
                return parts > 0 && is_last_part(&text[part..at], classes) && follows(&text[at..]);
            }
            '-' | '_' => {}
            _ if named(character) => {}
            _ => return false,
        }
    }
    parts > 0 && is_last_part(&text[part..], classes)
}

fn named(character: char) -> bool {
    character.is_ascii_alphanumeric() || ('\u{a1}'..='\u{ffff}').contains(&character)
}

fn is_part(part: &str) -> bool {
    let ends = [part.chars().next(), part.chars().next_back()];
    ends.iter().all(|end| end.is_some_and(named)) && (part.len() <= 64 || part.chars().count() <= 64)
}

fn is_last_part(part: &str, classes: &Classes) -> bool {
    let lower = |character| classes.of(character) & LOWER != 0;
    part.len() >= 2 && part.chars().all(lower) && (2..=63).contains(&part.chars().count())
}

/// A port of two to five digits, then a path or nothing.
fn follows(rest: &str) -> bool {
    let Some(port) = rest.strip_prefix(':') else { return true };
    let digits = port.bytes().take_while(u8::is_ascii_digit).count();
    let after = port.as_bytes().get(digits);
    (2..=5).contains(&digits) && after.is_none_or(|byte| matches!(byte, b'/' | b'?' | b'#'))
}

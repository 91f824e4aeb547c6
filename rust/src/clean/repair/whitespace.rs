//! Blanks: none at line ends, plain ones within lines, and no more than two empty lines in a row.

use super::kinds::{is_blank, kinds, BLANK, MOST_ENDS, WIDE};

/// Mends each line and gives how many characters changed or went. What a line begins with stays, but for blanks that
/// are no plain ones. A wide blank stays in lines of wide writing, unless `wide_too`.
pub fn mended(text: &str, wide_too: bool, out: &mut String) -> u64 {
    let mut changed = 0;
    let mut ends = 0;
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            ends += 1;
            if ends <= MOST_ENDS {
                out.push('\n');
            } else {
                changed += 1;
            }
        }
        let plain = line.trim_end_matches(|c| matches!(c, ' ' | '\t' | '\u{3000}') || is_blank(c));
        changed += line[plain.len()..].chars().count() as u64;
        if !plain.is_empty() {
            ends = 0;
            changed += within(plain, wide_too, out);
        }
    }
    changed
}

/// Writes a line with plain blanks in place of others.
fn within(line: &str, wide_too: bool, out: &mut String) -> u64 {
    if line.is_ascii() || !line.chars().any(|c| kinds(c) & BLANK != 0) {
        out.push_str(line);
        return 0;
    }
    let wide_goes = wide_too || !line.chars().any(|c| kinds(c) & WIDE != 0);
    let mut changed = 0;
    for c in line.chars() {
        let goes = is_blank(c) || (wide_goes && c == '\u{3000}');
        changed += u64::from(goes);
        out.push(if goes { ' ' } else { c });
    }
    changed
}

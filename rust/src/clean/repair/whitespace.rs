//! Blanks: none at line ends, plain ones within lines, and no more than two empty lines in a row.

use super::kinds::{is_blank, kinds, WIDE};

/// So many line ends in a row are two empty lines.
pub const MOST_ENDS: usize = 3;

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
        if plain.is_empty() {
            continue;
        }
        ends = 0;
        let is_wide = || line.chars().any(|c| kinds(c) & WIDE != 0);
        let wide_goes = wide_too || (line.contains('\u{3000}') && !is_wide());
        for c in plain.chars() {
            let goes = is_blank(c) || (wide_goes && c == '\u{3000}');
            changed += u64::from(goes);
            out.push(if goes { ' ' } else { c });
        }
    }
    changed
}

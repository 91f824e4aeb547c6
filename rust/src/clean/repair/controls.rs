//! Control characters, and line ends of other systems.

/// What was done: characters left out, and line ends that became `\n`.
#[derive(Default)]
pub struct Done {
    pub controls: u64,
    pub line_ends: u64,
}

/// `\r\n`, `\r`, page breaks and Unicode's own line ends become `\n`; control characters go but tabs, and so do a
/// terminal's colours, objects that were replaced and annotations.
pub fn mended(text: &str, out: &mut String) -> Done {
    let mut done = Done::default();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = escape(rest).unwrap_or(c.len_utf8());
        match c {
            '\r' if rest[1..].starts_with('\n') => done.line_ends += 1,
            '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => {
                out.push('\n');
                done.line_ends += 1;
            }
            '\t' | '\n' => out.push(c),
            '\u{206a}'..='\u{206f}' | '\u{fff9}'..='\u{fffc}' => done.controls += 1,
            c if c.is_control() => done.controls += 1,
            c => out.push(c),
        }
        rest = &rest[length..];
    }
    done
}

/// The length of `ESC [ … letter` at the beginning of a text.
fn escape(text: &str) -> Option<usize> {
    let inside = text.strip_prefix("\u{1b}[")?;
    let length = inside.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    inside.as_bytes()[length].is_ascii_alphabetic().then_some(2 + length + 1)
}

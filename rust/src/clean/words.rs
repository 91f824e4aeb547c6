//! Words of a text, in any script.

/// How a language's words are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Spaced,
    Characters,
}

pub fn cut<'a>(text: &'a str, out: &mut Vec<&'a str>) {
    out.clear();
    out.extend(text.split_whitespace());
}

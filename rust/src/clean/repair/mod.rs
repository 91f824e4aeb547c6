//! Characters mended: NFC, control characters, whitespace, mojibake, what is not seen.
//!
//! A text that needs nothing costs one scan: [`kinds`] says what any character of it gives to do, and only those repairs
//! go through it.

mod compose;
mod controls;
mod invisible;
mod kinds;
mod mojibake;
mod whitespace;

/// Which repairs are made. All but the last, by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct Repairs {
    pub mojibake: bool,
    pub controls: bool,
    pub invisible: bool,
    pub whitespace: bool,
    pub nfc: bool,
    /// Wide blanks (U+3000) become plain ones in every line, not only in those without wide writing.
    pub wide_blanks: bool,
}

impl Default for Repairs {
    fn default() -> Self {
        Self { mojibake: true, controls: true, invisible: true, whitespace: true, nfc: true, wide_blanks: false }
    }
}

impl Repairs {
    pub const NONE: Self =
        Self { mojibake: false, controls: false, invisible: false, whitespace: false, nfc: false, wide_blanks: false };
}

/// What was mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that were read in another encoding than they were written in.
    pub mojibake: u64,
    /// Control characters left out.
    pub controls: u64,
    /// Line ends that became `\n`.
    pub line_ends: u64,
    /// Characters left out that are not seen.
    pub invisible: u64,
    /// Blanks left out or made plain, and empty lines left out.
    pub whitespace: u64,
    /// Stretches that were not in NFC.
    pub nfc: u64,
}

impl Counts {
    /// The names and numbers, as reports list them.
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("mojibake", self.mojibake),
            ("controls", self.controls),
            ("line_ends", self.line_ends),
            ("invisible", self.invisible),
            ("whitespace", self.whitespace),
            ("nfc", self.nfc),
        ]
    }

    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Writes the mended text into `out`, and gives what was mended.
pub fn repair(text: &str, repairs: &Repairs, out: &mut String) -> Counts {
    let mut counts = Counts::default();
    let mut found = kinds::all(text);
    out.clear();
    out.push_str(text);
    if repairs.mojibake && found & kinds::CLUE != 0 {
        counts.mojibake = apply(out, mojibake::mended);
        found = if counts.mojibake > 0 { kinds::all(out) } else { found };
    }
    if repairs.controls && found & kinds::CONTROL != 0 {
        let done = apply(out, controls::mended);
        (counts.controls, counts.line_ends) = (done.controls, done.line_ends);
        found = kinds::all(out);
    }
    if repairs.invisible && found & kinds::INVISIBLE != 0 {
        counts.invisible = apply(out, invisible::mended);
        found = kinds::all(out);
    }
    if repairs.whitespace && found & kinds::BLANK != 0 {
        counts.whitespace = apply(out, |text, out| whitespace::mended(text, repairs.wide_blanks, out));
    }
    if repairs.nfc && found & kinds::UNSETTLED != 0 {
        counts.nfc = apply(out, compose::mended);
    }
    counts
}

/// Puts what a step makes of a text in its place.
fn apply<T>(text: &mut String, step: impl FnOnce(&str, &mut String) -> T) -> T {
    let mut out = String::with_capacity(text.len());
    let done = step(text, &mut out);
    *text = out;
    done
}

#[cfg(test)]
mod tests;

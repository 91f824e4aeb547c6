//! Characters that take no place. Each stays where a script needs it and goes where it only hides: joiners stay in the
//! scripts that join and in emoji, marks of direction in lines that run from right to left, the blank without width where
//! words are written without blanks.

/// Whether a character is one that [`mended`] looks at.
pub fn is_one(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
        || is_joiner(c)
        || is_direction(c)
        || is_tag(c)
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}')
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// Leaves out what hides, and gives how many characters that were.
pub fn mended(text: &str, out: &mut String) -> u64 {
    let mut gone = 0;
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if line.is_ascii() || !line.chars().any(is_one) {
            out.push_str(line);
        } else {
            gone += in_line(line, out);
        }
    }
    gone
}

fn in_line(line: &str, out: &mut String) -> u64 {
    let is_rtl = line.chars().any(runs_from_right);
    let (mut gone, mut before, mut in_flag) = (0, None, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        in_flag = c == '\u{1f3f4}' || (in_flag && is_tag(c));
        let near = |is: fn(char) -> bool| before.is_some_and(is) || next.is_some_and(is);
        let stays = match c {
            // the same again says nothing new
            _ if is_joiner(c) && before == Some(c) => false,
            '\u{200d}' if before.is_some_and(is_emoji) && next.is_some_and(is_emoji) => true,
            '\u{200c}' | '\u{200d}' => near(joins),
            '\u{200b}' => near(is_without_blanks),
            '\u{180e}' => near(|c| matches!(c, '\u{1800}'..='\u{18af}') && !is_one(c)),
            c if is_direction(c) => is_rtl,
            c if is_tag(c) => in_flag,
            c => !is_one(c),
        };
        if stays {
            out.push(c);
            before = Some(c);
        } else {
            gone += 1;
        }
    }
    gone
}

/// The scripts whose letters change with a joiner beside them: Arabic and its kin, those of India and around.
fn joins(c: char) -> bool {
    matches!(c, '\u{600}'..='\u{8ff}' | '\u{900}'..='\u{dff}' | '\u{f00}'..='\u{109f}' | '\u{1700}'..='\u{18af}'
        | '\u{1a00}'..='\u{1cff}' | '\u{a800}'..='\u{a8ff}' | '\u{a900}'..='\u{a9df}' | '\u{aa00}'..='\u{aadf}'
        | '\u{abc0}'..='\u{abff}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{1_0a00}'..='\u{1_0fff}'
        | '\u{1_1000}'..='\u{1_1fff}' | '\u{1_e900}'..='\u{1_e95f}')
        && !is_one(c)
}

/// Thai, Lao, Tibetan, Burmese, Khmer and their kin, where U+200B says that a word ends.
fn is_without_blanks(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{1950}'..='\u{1aaf}' | '\u{1b00}'..='\u{1bff}'
        | '\u{a980}'..='\u{a9ff}' | '\u{aa00}'..='\u{aadf}')
}

fn runs_from_right(c: char) -> bool {
    matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{1_0800}'..='\u{1_0fff}'
        | '\u{1_e800}'..='\u{1_efff}')
        && !is_direction(c)
}

/// What an emoji of several is made of: pictures, their colours and the mark that they are shown as such.
fn is_emoji(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{21ff}' | '\u{2300}'..='\u{23ff}' | '\u{25a0}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}'
        | '\u{fe0f}' | '\u{1_f000}'..='\u{1_faff}' | '\u{e007f}')
}

//! A stretch without white space, to words: what stands at its ends is cut off, then it is cut where signs join words.

use super::address::is_address;
use super::class::*;
use super::is_ascii_space;
use super::special::{Special, LONGEST};

const UNITS: [&str; 91] = [
    "km", "km²", "km³", "m", "m²", "m³", "dm", "dm²", "dm³", "cm", "cm²", "cm³", "mm", "mm²", "mm³", "ha", "µm", "nm",
    "yd", "in", "ft", "kg", "g", "mg", "µg", "t", "lb", "oz", "m/s", "km/h", "kmh", "mph", "hPa", "Pa", "mbar", "mb",
    "MB", "kb", "KB", "gb", "GB", "tb", "TB", "T", "G", "M", "K", "%", "км", "км²", "км³", "м", "м²", "м³", "дм",
    "дм²", "дм³", "см", "см²", "см³", "мм", "мм²", "мм³", "нм", "кг", "г", "мг", "м/с", "км/ч", "кПа", "Па", "мбар",
    "Кб", "КБ", "кб", "Мб", "МБ", "мб", "Гб", "ГБ", "гб", "Тб", "ТБ", "كم", "م", "سم", "مم", "غرام", "جرام", "كغ",
    "كوب",
];

/// Cuts chunks; keeps what it needs between them.
pub struct Chunks {
    classes: &'static Classes,
    special: &'static Special,
    /// Ends of the words of the chunk, in order.
    ends: Vec<usize>,
    /// Starts of what was cut off its end, the last first.
    tails: Vec<usize>,
}

impl Chunks {
    pub fn new() -> Self {
        Self { classes: Classes::get(), special: Special::get(), ends: Vec::new(), tails: Vec::new() }
    }

    /// Where a chunk ends that begins with the letters from `start` to `end` and has at most one common sign after them,
    /// which then is a word; None where it takes a closer look.
    #[inline(always)]
    pub fn plain(&self, text: &str, start: usize, end: usize) -> Option<usize> {
        if start == end {
            return None;
        }
        let bytes = text.as_bytes();
        let length = end - start;
        let sign = bytes.get(end).copied().unwrap_or(b' ');
        if is_ascii_space(sign) {
            let known = matches!(length, 5 | 6) && matches!(&bytes[start + 1..end], b"annot" | b"onna" | b"otta");
            return (!known).then_some(end);
        }
        if bytes.get(end + 1).is_some_and(|next| !is_ascii_space(*next)) {
            return None;
        }
        let cut = match sign {
            b',' | b';' | b':' | b'!' | b'?' => true,
            b'.' if length > 1 => {
                let upper = [end - 2, end - 1].map(|at| bytes[at].is_ascii_uppercase());
                (upper[0] || !upper[1]) && self.special.of(&text[start..=end]).is_none()
            }
            _ => false,
        };
        cut.then_some(end + 1)
    }

    /// The ends of the words of `chunk`, which holds no white space and is not empty.
    pub fn cut(&mut self, chunk: &str) -> &[usize] {
        self.ends.clear();
        if chunk.is_ascii() {
            self.piece(chunk, 0);
        } else {
            self.by_script(chunk);
        }
        if self.ends.len() > 1 {
            self.join(chunk);
        }
        &self.ends
    }

    /// Characters of scripts without spaces are words, with the marks on them; what lies between them is cut as usual.
    fn by_script(&mut self, chunk: &str) {
        let mut start = 0;
        let mut characters = chunk.char_indices().peekable();
        while let Some((at, character)) = characters.next() {
            if self.classes.of(character) & ALONE == 0 {
                continue;
            }
            if start < at {
                self.piece(&chunk[start..at], start);
            }
            while characters.next_if(|(_, next)| self.classes.of(*next) & MARK != 0).is_some() {}
            start = characters.peek().map_or(chunk.len(), |(next, _)| *next);
            self.ends.push(start);
        }
        if start < chunk.len() {
            self.piece(&chunk[start..], start);
        }
    }

    /// Appends the ends of the words of `piece`, which lies at `base` of the chunk.
    fn piece(&mut self, piece: &str, base: usize) {
        self.tails.clear();
        let (mut low, mut high) = (0, piece.len());
        while low < high {
            let middle = &piece[low..high];
            if self.special.of(middle).is_some() {
                break;
            }
            let front = self.prefix(middle);
            if front > 0 && self.special.of(&middle[front..]).is_some() {
                low += front;
                self.ends.push(base + low);
                break;
            }
            let back = self.suffix(&middle[front..]);
            if back > 0 && self.special.of(&middle[..middle.len() - back]).is_some() {
                high -= back;
                self.tails.push(high);
                break;
            }
            if front > 0 {
                low += front;
                self.ends.push(base + low);
            }
            if back > 0 {
                high -= back;
                self.tails.push(high);
            }
            if front + back == 0 {
                break;
            }
        }
        if low < high {
            self.middle(&piece[low..high], base + low);
        }
        // What was cut off last stands first: each begins where it was cut and ends where the one before it began.
        let ends = self.tails.iter().rev().skip(1).copied().chain(self.tails.first().map(|_| piece.len()));
        self.ends.extend(ends.map(|end| base + end));
        self.tails.clear();
    }

    /// A word whose ends are clean: known by heart, an address, or cut at what joins its parts.
    fn middle(&mut self, word: &str, base: usize) {
        let end = base + word.len();
        if let Some(lengths) = self.special.of(word) {
            let mut at = base;
            for length in lengths {
                at += usize::from(*length);
                self.ends.push(at);
            }
            return;
        }
        if is_address(word, self.classes) {
            return self.ends.push(end);
        }
        let mut start = 0;
        let mut at = 0;
        while at < word.len() {
            let length = self.infix(word, at);
            if length == 0 || at == 0 {
                at += if length > 0 { length } else { word[at..].chars().next().map_or(1, char::len_utf8) };
                continue;
            }
            if at > start {
                self.ends.push(base + at);
            }
            at += length;
            self.ends.push(base + at);
            start = at;
        }
        if start < word.len() {
            self.ends.push(end);
        }
    }

    /// The length of what is cut off the front.
    #[inline]
    fn prefix(&self, word: &str) -> usize {
        let bytes = word.as_bytes();
        match bytes[0] {
            b'.' => run_of_stops(bytes.iter()),
            b'+' => usize::from(!bytes.get(1).is_some_and(u8::is_ascii_digit)),
            b'U' if word.starts_with("US$") => 3,
            b'C' | b'A' if bytes.get(1) == Some(&b'$') => 2,
            byte if byte < 0x80 => usize::from(self.classes.of_byte(byte) & PREFIX != 0),
            _ => {
                let first = word.chars().next().expect("a word is not empty");
                if self.classes.of(first) & PREFIX != 0 {
                    first.len_utf8()
                } else {
                    0
                }
            }
        }
    }

    /// The length of what is cut off the end.
    #[inline]
    fn suffix(&self, word: &str) -> usize {
        let bytes = word.as_bytes();
        let Some(last) = bytes.last() else { return 0 };
        let before = bytes.len().checked_sub(2).map(|at| bytes[at]);
        match last {
            b'.' => return self.stop(word),
            b's' | b'S' if before == Some(b'\'') => return 2,
            b's' | b'S' if word[..word.len() - 1].ends_with('’') => return 4,
            b'+' => return usize::from(before.is_some_and(|byte| byte.is_ascii_digit())),
            _ => {}
        }
        let (class, length) = if *last < 0x80 {
            (self.classes.of_byte(*last), 1)
        } else {
            let last = word.chars().next_back().expect("it has a last byte");
            (self.classes.of(last), last.len_utf8())
        };
        if class & SUFFIX != 0 {
            return if word.ends_with("……") { 6 } else { length };
        }
        self.after_number(word, class & CURRENCY != 0, length)
    }

    /// A full stop at the end: alone after what may end a sentence, not after an initial; several as one.
    fn stop(&self, word: &str) -> usize {
        let stops = run_of_stops(word.as_bytes().iter().rev());
        if stops > 0 {
            return stops;
        }
        let mut before = word[..word.len() - 1].chars().rev();
        let Some(last) = before.next() else { return 0 };
        let class = self.classes.of(last);
        let upper = |class| class & UPPER != 0;
        let cut = last.is_ascii_digit()
            || class & (LOWER | BEFORE_STOP) != 0
            || upper(class) && before.next().is_some_and(|next| upper(self.classes.of(next)) || degrees(next, last));
        usize::from(cut)
    }

    /// A unit or a currency right after a digit.
    fn after_number(&self, word: &str, currency: bool, length: usize) -> usize {
        let tail = word.len().saturating_sub(9);
        let Some(digit) = word.as_bytes()[tail..].iter().rposition(u8::is_ascii_digit) else { return 0 };
        let rest = word.get(tail + digit + 1..).unwrap_or("");
        let is_currency = currency && (rest.len() == length || matches!(rest, "US$" | "C$" | "A$"));
        if is_currency || UNITS.contains(&rest) {
            rest.len()
        } else {
            0
        }
    }

    /// The length of the sign at `at` that cuts `word` in two, 0 where none stands there.
    fn infix(&self, word: &str, at: usize) -> usize {
        let rest = &word[at..];
        let byte = rest.as_bytes()[0];
        if byte.is_ascii_alphanumeric() {
            return 0;
        }
        let before = &word[..at];
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        let joining = |text: &str| self.classes.first(text) & JOINING != 0;
        let after_letter = self.classes.last(before) & JOINING != 0;
        let after_digit = digit(before.as_bytes().last());
        match byte {
            b'.' => {
                let stops = run_of_stops(rest.as_bytes().iter());
                let sentence = self.classes.last(before) & (LOWER | QUOTE) != 0
                    && self.classes.first(&rest[1..]) & (UPPER | QUOTE) != 0;
                if stops > 0 {
                    stops
                } else {
                    usize::from(sentence)
                }
            }
            b',' => usize::from(after_letter && joining(&rest[1..])),
            b':' | b'<' | b'>' | b'=' | b'/' => usize::from((after_letter || after_digit) && joining(&rest[1..])),
            b'+' | b'*' | b'^' => {
                let next = rest.as_bytes().get(1);
                usize::from(after_digit && (digit(next) || next == Some(&b'-')))
            }
            b'-' if after_digit && rest[1..].starts_with(|next: char| next.is_ascii_digit() || next == '-') => 1,
            b'-' | b'~' | 0xe2 if after_letter || after_digit => self.hyphen(rest),
            byte if byte >= 0x80 => self.sign(rest),
            _ => 0,
        }
    }

    fn hyphen(&self, rest: &str) -> usize {
        let joins =
            |sign: &&&str| rest.strip_prefix(**sign).is_some_and(|after| self.classes.first(after) & JOINING != 0);
        let found = ["-", "–", "—", "--", "---", "——", "~"].iter().find(joins);
        found.map_or_else(|| self.sign(rest), |sign| sign.len())
    }

    fn sign(&self, rest: &str) -> usize {
        let first = rest.chars().next().expect("there is a character");
        if first == '…' || self.classes.of(first) & ICON != 0 {
            first.len_utf8()
        } else {
            0
        }
    }

    /// Joins neighbours that are known by heart as one: the emoticon at the end of a word, two apostrophes; and cuts
    /// what is known by heart once hyphens were cut.
    fn join(&mut self, chunk: &str) {
        for several in [3, 2] {
            let mut first = 0;
            while first + several <= self.ends.len() {
                let start = if first == 0 { 0 } else { self.ends[first - 1] };
                let joined = &chunk[start..self.ends[first + several - 1]];
                if joined.len() <= 6 && self.special.of(joined).is_some_and(|lengths| lengths.len() == 1) {
                    self.ends[first..first + several - 1].fill(0);
                    first += several;
                } else {
                    first += 1;
                }
            }
            self.ends.retain(|end| *end > 0);
        }
        self.cut_specials(chunk);
    }

    fn cut_specials(&mut self, chunk: &str) {
        let ends = std::mem::take(&mut self.ends);
        let mut start = 0;
        for end in &ends {
            let word = &chunk[start..*end];
            let apostrophe = |byte: &u8| *byte == b'\'' || *byte == 0xe2;
            let may = (4..=LONGEST).contains(&word.len()) && word.as_bytes()[1..].iter().any(apostrophe);
            for length in
                may.then(|| self.special.of(word)).flatten().map_or(&[][..], |lengths| &lengths[..lengths.len() - 1])
            {
                start += usize::from(*length);
                self.tails.push(start);
            }
            self.tails.push(*end);
            start = *end;
        }
        self.ends = std::mem::replace(&mut self.tails, ends);
        self.tails.clear();
    }
}

/// How many stops stand there, from two on.
fn run_of_stops<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    let stops = bytes.take_while(|byte| **byte == b'.').count();
    if stops > 1 {
        stops
    } else {
        0
    }
}

fn degrees(sign: char, letter: char) -> bool {
    sign == '°' && matches!(letter, 'F' | 'C' | 'K')
}

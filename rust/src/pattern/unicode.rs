//! What kind of character stands at a byte: two-level tables over code points, filled from the Unicode data of the
//! regex engine that is the oracle, so that both always speak of the same Unicode version.

use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};

/// A symbol, an unassigned code point or an invalid byte: `[^\s\p{L}\p{N}\p{M}]`.
pub const OTHER: u8 = 0;
/// `[\p{Lu}\p{Lt}]`
pub const UPPER: u8 = 1;
/// `\p{Ll}`
pub const LOWER: u8 = 2;
/// `[\p{Lm}\p{Lo}]`
pub const CASELESS: u8 = 3;
/// `\p{M}`
pub const MARK: u8 = 4;
/// `\p{N}`
pub const NUMBER: u8 = 5;
/// `\s`
pub const SPACE: u8 = 6;
pub const CLASSES: usize = 7;

const SOURCES: [(u8, &str); 6] = [
    (UPPER, r"[\p{Lu}\p{Lt}]"),
    (LOWER, r"\p{Ll}"),
    (CASELESS, r"[\p{Lm}\p{Lo}]"),
    (MARK, r"\p{M}"),
    (NUMBER, r"\p{N}"),
    (SPACE, r"\s"),
];

/// A page is what the last byte of a UTF-8 sequence chooses from: 64 code points.
pub struct Tables {
    page_of: Vec<u16>,
    pages: Vec<[u8; 64]>,
    /// The pages again, as one bit a code point for each class.
    bitmaps: Vec<[u64; CLASSES]>,
    /// For a first byte, by its low six bits: with this second byte or a higher one it begins a letter without case.
    letters_from: [u8; 64],
}

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::build);

impl Tables {
    pub fn get() -> &'static Tables {
        &TABLES
    }

    fn build() -> Self {
        let mut classes = vec![OTHER; 0x11_0000];
        for (class, source) in SOURCES {
            let hir = regex_syntax::parse(source).expect("a class of the regex engine");
            let HirKind::Class(HirClass::Unicode(ranges)) = hir.kind() else { unreachable!("{source} is a class") };
            for range in ranges.iter() {
                classes[range.start() as usize..=range.end() as usize].fill(class);
            }
        }
        let mut tables = Self {
            page_of: Vec::with_capacity(0x11_0000 / 64),
            pages: Vec::new(),
            bitmaps: Vec::new(),
            letters_from: [0xff; 64],
        };
        let mut known = std::collections::HashMap::new();
        for page in classes.as_chunks::<64>().0 {
            let number = *known.entry(page).or_insert_with(|| {
                tables.pages.push(*page);
                tables.pages.len() as u16 - 1
            });
            tables.page_of.push(number);
        }
        for page in &tables.pages {
            let mut bitmaps = [0; CLASSES];
            for (bit, class) in page.iter().enumerate() {
                bitmaps[*class as usize] |= 1 << bit;
            }
            tables.bitmaps.push(bitmaps);
        }
        for (lead, points) in classes[..0x1_0000].chunks(4096).enumerate() {
            let mixed = points.iter().rposition(|class| *class != CASELESS).map_or(0, |last| last / 64 + 1);
            if mixed < 64 {
                tables.letters_from[0x20 + lead] = 0x80 | mixed as u8;
            }
        }
        tables
    }

    /// The bitmaps of page `point >> 6`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    #[inline(always)]
    pub fn bitmaps(&self, page: usize) -> &[u64; CLASSES] {
        &self.bitmaps[self.page_of[page] as usize]
    }

    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub fn letters_from(&self) -> &[u8; 64] {
        &self.letters_from
    }

    #[inline(always)]
    fn class(&self, point: u32) -> u8 {
        self.pages[self.page_of[(point >> 6) as usize] as usize][(point & 63) as usize]
    }

    /// The class and the length of the character that starts at `at`, which must lie in the text.
    #[inline(always)]
    pub fn at(&self, text: &[u8], at: usize) -> (u8, usize) {
        let (point, length) = decode(text, at);
        if length == 0 {
            return (OTHER, 1);
        }
        (self.class(point), length)
    }

    /// The class and the start of the character that ends before `end`, looking no further back than `low`.
    pub fn before(&self, text: &[u8], low: usize, end: usize) -> (u8, usize) {
        // Which bytes are a character depends on those bytes alone, and no character holds the first byte of another.
        for length in (2..=4).take_while(|length| low + length <= end) {
            let (point, found) = decode(text, end - length);
            if found == length {
                return (self.class(point), end - length);
            }
        }
        (if text[end - 1] < 0x80 { self.class(u32::from(text[end - 1])) } else { OTHER }, end - 1)
    }
}

/// The code point at `at` and its length in bytes; length 0 where no well-formed sequence starts.
#[inline(always)]
fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let word = match text.get(at..at + 4) {
        Some(four) => u32::from_le_bytes([four[0], four[1], four[2], four[3]]),
        None => text[at..].iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)),
    };
    let lead = word & 0xff;
    if lead < 0x80 {
        return (lead, 1);
    }
    let (second, third, fourth) = (word >> 8 & 0x3f, word >> 16 & 0x3f, word >> 24 & 0x3f);
    if word & 0xc0e0 == 0x80c0 {
        let point = (lead & 0x1f) << 6 | second;
        return (point, if point >= 0x80 { 2 } else { 0 });
    }
    if word & 0x00c0_c0f0 == 0x0080_80e0 {
        let point = (lead & 0xf) << 12 | second << 6 | third;
        return (point, if point >= 0x800 && point >> 11 != 0x1b { 3 } else { 0 });
    }
    if word & 0xc0c0_c0f8 == 0x8080_80f0 {
        let point = (lead & 7) << 18 | second << 12 | third << 6 | fourth;
        return (point, if (0x1_0000..0x11_0000).contains(&point) { 4 } else { 0 });
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_the_class_that_the_regex_engine_gives_it() {
        let tables = Tables::get();
        let regexes = SOURCES.map(|(class, source)| (class, fancy_regex::Regex::new(&format!("^{source}")).unwrap()));
        for character in '\0'..=char::MAX {
            let mut bytes = [0; 4];
            let text = character.encode_utf8(&mut bytes);
            let of_regex =
                regexes.iter().find(|(_, regex)| regex.is_match(text).unwrap()).map_or(OTHER, |found| found.0);
            assert_eq!(tables.at(text.as_bytes(), 0), (of_regex, text.len()), "{character:?}");
            assert_eq!(tables.before(text.as_bytes(), 0, text.len()), (of_regex, 0), "{character:?}");
        }
        let (han, hangul) = (tables.letters_from[0x25], tables.letters_from[0x2b]);
        assert_eq!((han, hangul), (0x80, 0x80), "the quick way for most of Han and Hangul is lost");
        assert!(tables.pages.len() < 512, "{} pages", tables.pages.len());
    }

    #[test]
    fn well_formed_means_what_the_standard_library_says() {
        let interesting = [0, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1];
        let more = [0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff];
        let bytes: Vec<u8> = interesting.into_iter().chain(more).collect();
        let tables = Tables::get();
        for code in 0..bytes.len().pow(4) {
            let text = [0, 1, 2, 3].map(|place| bytes[code / bytes.len().pow(place) % bytes.len()]);
            for length in 1..=4 {
                let text = &text[..length];
                let first = text.utf8_chunks().next().unwrap();
                let expected = first.valid().chars().next().map_or(1, char::len_utf8);
                assert_eq!(tables.at(text, 0).1, expected, "{text:x?}");
                let last = text.utf8_chunks().last().unwrap();
                let tail = if last.invalid().is_empty() { last.valid().chars().last().unwrap().len_utf8() } else { 1 };
                assert_eq!(tables.before(text, 0, length).1, length - tail, "{text:x?}");
            }
        }
    }
}

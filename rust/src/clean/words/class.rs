//! What each character is to the rules, as bits: a two-level table over code points.
//!
//! Letters, marks and punctuation are of the Unicode version of the regex engine's tables, which is newer than that of
//! any Python: characters that a Python does not know yet are letters here and nothing there.

use std::sync::LazyLock;

use regex_syntax::hir::{Class as HirClass, HirKind};

/// A letter: what Python's `isalpha` says yes to.
pub const LETTER: u16 = 1;
/// A letter or a mark that may stand where spaCy asks for a lower-case letter: one without case may.
pub const LOWER: u16 = 1 << 1;
/// The same for an upper-case letter.
pub const UPPER: u16 = 1 << 2;
pub const MARK: u16 = 1 << 3;
/// What Python's `isspace` says yes to.
pub const SPACE: u16 = 1 << 4;
/// A word by itself, since its script puts no spaces between words.
pub const ALONE: u16 = 1 << 5;
/// Cut off where a word begins with it.
pub const PREFIX: u16 = 1 << 6;
/// Cut off where a word ends with it.
pub const SUFFIX: u16 = 1 << 7;
pub const QUOTE: u16 = 1 << 8;
/// A symbol that is a word by itself wherever it stands.
pub const ICON: u16 = 1 << 9;
/// After it a full stop at the end is cut off.
pub const BEFORE_STOP: u16 = 1 << 10;
pub const CURRENCY: u16 = 1 << 11;
/// One of datatrove's punctuation characters: a word of nothing else is no word to Gopher.
pub const PUNCTUATION: u16 = 1 << 12;
/// Ends a sentence where it is a word by itself (spaCy's sentencizer).
pub const ENDER: u16 = 1 << 13;
/// `\p{P}`: does not begin a sentence.
pub const UNICODE_PUNCTUATION: u16 = 1 << 14;
/// Ends a line well for FineWeb.
pub const TERMINAL: u16 = 1 << 15;

/// A letter or a mark: what joins a hyphen or a comma to the word.
pub const JOINING: u16 = LETTER | MARK;

const CLASSES: [(u16, &str); 9] = [
    (LETTER, r"\p{L}"),
    (MARK | LOWER | UPPER, r"\p{M}"),
    (LOWER, r"[\p{Ll}\p{Lo}\p{Lm}]"),
    (UPPER, r"[\p{Lu}\p{Lt}\p{Lo}\p{Lm}]"),
    (SPACE, r"[\s\x1c-\x1f]"),
    (UNICODE_PUNCTUATION, r"\p{P}"),
    (ICON | PREFIX | SUFFIX, r"\p{So}"),
    (
        ALONE,
        concat!(
            r"[[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Bopo}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}",
            r"\p{Tai_Tham}\p{New_Tai_Lue}\p{Tai_Viet}\p{Javanese}\p{Balinese}\p{Tangut}\p{Nushu}]&&[\p{L}\p{N}]]"
        ),
    ),
    (PUNCTUATION, r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"),
];

const SETS: [(u16, &str); 8] = [
    (PREFIX | SUFFIX | BEFORE_STOP, "…,:;!?¿؟¡()[]{}<>_#*&。？！，、；：～·।،۔؛٪"),
    (PREFIX | SUFFIX | BEFORE_STOP | QUOTE, "'\"”“`‘´’‚,„»«「」『』（）〔〕【】《》\u{3008}\u{3009}\u{2329}\u{232a}⟦⟧"),
    (PREFIX | SUFFIX, "—–"),
    (PREFIX, "§%="),
    (PREFIX | CURRENCY, "$£€¥฿₽﷼₴₠₡₢₣₤₥₦₧₨₩₪₫₭₮₯₰₱₲₳₵₶₷₸₹₺₻₼₾₿"),
    (BEFORE_STOP, "|%²-+"),
    (PUNCTUATION, "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"),
    (PUNCTUATION | TERMINAL, TERMINALS),
];

/// The terminal punctuation of all scripts that are known to FineWeb.
const TERMINALS: &str = concat!(
    "!.?؝؞؟۔܀܁܂߹।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟\u{1b7d}\u{1b7e}᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼\u{2e53}\u{2e54}。",
    "꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡𐩖𐩗𐽕𐽖𐽗𐽘𐽙\u{10f86}\u{10f87}\u{10f88}\u{10f89}𑁇𑁈𑂾𑂿𑃀𑃁𑅁𑅂𑅃𑇅𑇆𑇍𑇞𑇟𑈸𑈹𑈻𑈼𑊩",
    "𑑋𑑌𑗂𑗃𑗉𑗊𑗋𑗌𑗍𑗎𑗏𑗐𑗑𑗒𑗓𑗔𑗕𑗖𑗗𑙁𑙂𑜼𑜽𑜾𑥄𑥆𑩂𑩃𑪛𑪜𑱁𑱂𑻷𑻸\u{11f43}\u{11f44}𖩮𖩯𖫵𖬷𖬸𖭄𖺘𛲟𝪈։࠷࠹࠽࠾"
);

/// Of these, what the sentencizer does not know.
const NOT_ENDERS: &str = concat!(
    "؝؞។៕៖៙៚\u{1b7d}\u{1b7e}\u{2e53}\u{2e54}𐽕𐽖𐽗𐽘𐽙\u{10f86}\u{10f87}\u{10f88}\u{10f89}",
    "𑥄𑥆𑻷𑻸\u{11f43}\u{11f44}𖺘࠷࠹࠽࠾"
);

/// `\p{Nd}`
static DECIMALS: LazyLock<Vec<(char, char)>> = LazyLock::new(|| ranges(r"\p{Nd}"));

/// A digit, of any script.
pub fn is_decimal(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_digit();
    }
    let after = DECIMALS.partition_point(|range| range.0 <= character);
    after > 0 && character <= DECIMALS[after - 1].1
}

fn ranges(source: &str) -> Vec<(char, char)> {
    let hir = regex_syntax::parse(source).expect("a class of the regex engine");
    let HirKind::Class(HirClass::Unicode(class)) = hir.kind() else { unreachable!("{source} is a class") };
    class.iter().map(|range| (range.start(), range.end())).collect()
}

pub struct Classes {
    page_of: Vec<u16>,
    pages: Vec<[u16; 64]>,
    ascii: [u16; 128],
}

static CLASSES_OF: LazyLock<Classes> = LazyLock::new(Classes::build);

impl Classes {
    pub fn get() -> &'static Classes {
        &CLASSES_OF
    }

    fn build() -> Self {
        let mut bits = vec![0u16; 0x11_0000];
        for (class, source) in CLASSES {
            for (start, end) in ranges(source) {
                bits[start as usize..=end as usize].iter_mut().for_each(|bits| *bits |= class);
            }
        }
        for (class, characters) in SETS {
            characters.chars().for_each(|character| bits[character as usize] |= class);
        }
        TERMINALS.chars().for_each(|character| bits[character as usize] |= ENDER);
        NOT_ENDERS.chars().for_each(|character| bits[character as usize] &= !ENDER);
        Self::compressed(&bits)
    }

    fn compressed(bits: &[u16]) -> Self {
        let mut known = std::collections::HashMap::new();
        let mut pages: Vec<[u16; 64]> = Vec::new();
        let page_of = bits.as_chunks::<64>().0.iter().map(|page| {
            *known.entry(page).or_insert_with(|| {
                pages.push(*page);
                pages.len() as u16 - 1
            })
        });
        let page_of = page_of.collect();
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&bits[..128]);
        Self { page_of, pages, ascii }
    }

    #[inline(always)]
    pub fn of(&self, character: char) -> u16 {
        let point = character as usize;
        self.pages[self.page_of[point >> 6] as usize][point & 63]
    }

    #[inline(always)]
    pub fn of_byte(&self, byte: u8) -> u16 {
        self.ascii[byte as usize & 127]
    }

    /// Of the first character; 0 where there is none.
    #[inline(always)]
    pub fn first(&self, text: &str) -> u16 {
        match text.as_bytes().first() {
            Some(byte) if *byte < 0x80 => self.of_byte(*byte),
            Some(_) => text.chars().next().map_or(0, |character| self.of(character)),
            None => 0,
        }
    }

    /// Of the last character; 0 where there is none.
    #[inline(always)]
    pub fn last(&self, text: &str) -> u16 {
        match text.as_bytes().last() {
            Some(byte) if *byte < 0x80 => self.of_byte(*byte),
            Some(_) => text.chars().next_back().map_or(0, |character| self.of(character)),
            None => 0,
        }
    }

    /// What Python's `lstrip` leaves.
    pub fn strip_start<'a>(&self, text: &'a str) -> &'a str {
        text.trim_start_matches(|character| self.of(character) & SPACE != 0)
    }

    /// What Python's `strip` leaves.
    pub fn strip<'a>(&self, text: &'a str) -> &'a str {
        text.trim_matches(|character| self.of(character) & SPACE != 0)
    }
}

//! Which script a text is written in.

/// A script that letters tell: one of Unicode's, but for Chinese and Japanese, which share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script(u8);

/// Where the letters of a script lie. Blocks, not single letters: what is in them and is no letter is rare.
const RANGES: &[(u32, u32, &str)] = &[
    (0x41, 0x5a, "Latn"),
    (0x61, 0x7a, "Latn"),
    (0xaa, 0xaa, "Latn"),
    (0xba, 0xba, "Latn"),
    (0xc0, 0xd6, "Latn"),
    (0xd8, 0xf6, "Latn"),
    (0xf8, 0x2af, "Latn"),
    (0x370, 0x3ff, "Grek"),
    (0x400, 0x52f, "Cyrl"),
    (0x531, 0x58a, "Armn"),
    (0x591, 0x5f4, "Hebr"),
    (0x610, 0x65f, "Arab"),
    (0x66e, 0x6ef, "Arab"),
    (0x6fa, 0x6ff, "Arab"),
    (0x700, 0x74f, "Syrc"),
    (0x750, 0x77f, "Arab"),
    (0x780, 0x7bf, "Thaa"),
    (0x7ca, 0x7fa, "Nkoo"),
    (0x8a0, 0x8ff, "Arab"),
    (0x900, 0x963, "Deva"),
    (0x971, 0x97f, "Deva"),
    (0x980, 0x9e5, "Beng"),
    (0x9f0, 0x9ff, "Beng"),
    (0xa00, 0xa65, "Guru"),
    (0xa70, 0xa7f, "Guru"),
    (0xa80, 0xae5, "Gujr"),
    (0xaf0, 0xaff, "Gujr"),
    (0xb00, 0xb65, "Orya"),
    (0xb70, 0xb7f, "Orya"),
    (0xb80, 0xbe5, "Taml"),
    (0xc00, 0xc65, "Telu"),
    (0xc80, 0xce5, "Knda"),
    (0xd00, 0xd65, "Mlym"),
    (0xd80, 0xde5, "Sinh"),
    (0xe01, 0xe4e, "Thai"),
    (0xe80, 0xecf, "Laoo"),
    (0xedc, 0xedf, "Laoo"),
    (0xf00, 0xf1f, "Tibt"),
    (0xf40, 0xfff, "Tibt"),
    (0x1000, 0x103f, "Mymr"),
    (0x104a, 0x109f, "Mymr"),
    (0x10a0, 0x10ff, "Geor"),
    (0x1100, 0x11ff, "Hang"),
    (0x1200, 0x139f, "Ethi"),
    (0x13a0, 0x13ff, "Cher"),
    (0x1400, 0x167f, "Cans"),
    (0x1700, 0x171f, "Tglg"),
    (0x1780, 0x17dd, "Khmr"),
    (0x1820, 0x18af, "Mong"),
    (0x1900, 0x194f, "Limb"),
    (0x1950, 0x197f, "Tale"),
    (0x1980, 0x19df, "Talu"),
    (0x1a20, 0x1aaf, "Lana"),
    (0x1b00, 0x1b7f, "Bali"),
    (0x1c50, 0x1c7f, "Olck"),
    (0x1c80, 0x1c8f, "Cyrl"),
    (0x1c90, 0x1cbf, "Geor"),
    (0x1e00, 0x1eff, "Latn"),
    (0x1f00, 0x1fff, "Grek"),
    (0x2c60, 0x2c7f, "Latn"),
    (0x2d00, 0x2d2f, "Geor"),
    (0x2d30, 0x2d7f, "Tfng"),
    (0x2d80, 0x2ddf, "Ethi"),
    (0x2de0, 0x2dff, "Cyrl"),
    (0x2e80, 0x2fdf, "Hani"),
    (0x3005, 0x3007, "Hani"),
    (0x3041, 0x30ff, "Kana"),
    (0x3105, 0x312f, "Bopo"),
    (0x3131, 0x318f, "Hang"),
    (0x31f0, 0x31ff, "Kana"),
    (0x3400, 0x9fff, "Hani"),
    (0xa000, 0xa4cf, "Yiii"),
    (0xa4d0, 0xa4ff, "Lisu"),
    (0xa500, 0xa63f, "Vaii"),
    (0xa640, 0xa69f, "Cyrl"),
    (0xa720, 0xa7ff, "Latn"),
    (0xa840, 0xa877, "Phag"),
    (0xa880, 0xa8df, "Saur"),
    (0xa8e0, 0xa8ff, "Deva"),
    (0xa900, 0xa92f, "Kali"),
    (0xa930, 0xa95f, "Rjng"),
    (0xa960, 0xa97f, "Hang"),
    (0xa980, 0xa9df, "Java"),
    (0xa9e0, 0xa9ff, "Mymr"),
    (0xaa00, 0xaa5f, "Cham"),
    (0xaa60, 0xaa7f, "Mymr"),
    (0xaa80, 0xaadf, "Tavt"),
    (0xab00, 0xab2f, "Ethi"),
    (0xab30, 0xab6f, "Latn"),
    (0xab70, 0xabbf, "Cher"),
    (0xabc0, 0xabef, "Mtei"),
    (0xac00, 0xd7ff, "Hang"),
    (0xf900, 0xfaff, "Hani"),
    (0xfb00, 0xfb06, "Latn"),
    (0xfb1d, 0xfb4f, "Hebr"),
    (0xfb50, 0xfdff, "Arab"),
    (0xfe70, 0xfefc, "Arab"),
    (0xff21, 0xff5a, "Latn"),
    (0xff66, 0xff9f, "Kana"),
    (0x10330, 0x1034f, "Goth"),
    (0x11100, 0x1114f, "Cakm"),
    (0x118a0, 0x118ff, "Wara"),
    (0x16a40, 0x16a6f, "Mroo"),
    (0x1e100, 0x1e14f, "Hmnp"),
    (0x1e900, 0x1e95f, "Adlm"),
    (0x20000, 0x3ffff, "Hani"),
];

/// The scripts of `RANGES`, each once, by number; 0 is for what is no letter.
const CODES: [&str; COUNT] = codes();
const COUNT: usize = 64;

const fn codes() -> [&'static str; COUNT] {
    let mut codes = ["Zzzz"; COUNT];
    let (mut count, mut at) = (1, 0);
    while at < RANGES.len() {
        let mut known = 1;
        while known < count && !same(codes[known], RANGES[at].2) {
            known += 1;
        }
        codes[known] = RANGES[at].2;
        if known == count {
            count += 1;
        }
        at += 1;
    }
    codes
}

const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    one[0] == other[0] && one[1] == other[1] && one[2] == other[2] && one[3] == other[3]
}

const fn number(code: &str) -> u8 {
    let mut at = 1;
    while !same(CODES[at], code) {
        at += 1;
    }
    at as u8
}

const NUMBERS: [u8; RANGES.len()] = {
    let mut numbers = [0; RANGES.len()];
    let mut at = 0;
    while at < RANGES.len() {
        numbers[at] = number(RANGES[at].2);
        at += 1;
    }
    numbers
};

/// The script of each of the first code points, up to the Kana.
static LOW: [u8; 0x3100] = low();

const fn low() -> [u8; 0x3100] {
    let mut table = [0; 0x3100];
    let mut at = 0;
    while at < RANGES.len() {
        let (first, last, code) = RANGES[at];
        let mut point = first;
        while point <= last && point < 0x3100 {
            table[point as usize] = number(code);
            point += 1;
        }
        at += 1;
    }
    table
}

impl Script {
    pub const NONE: Self = Self(0);
    pub const LATIN: Self = Self(number("Latn"));
    pub const HAN: Self = Self(number("Hani"));
    pub const KANA: Self = Self(number("Kana"));
    pub const HANGUL: Self = Self(number("Hang"));

    /// Of one character; `NONE` where it is no letter.
    #[inline]
    pub fn of_char(c: char) -> Self {
        let point = c as u32;
        if let Some(script) = LOW.get(point as usize) {
            return Self(*script);
        }
        if (0x3400..=0x9fff).contains(&point) {
            return Self::HAN;
        }
        let at = RANGES.partition_point(|(_, last, _)| *last < point);
        match RANGES.get(at) {
            Some((first, ..)) if *first <= point => Self(NUMBERS[at]),
            _ => Self::NONE,
        }
    }

    /// The one that most letters of the first few thousand bytes are of: Japanese where Kana are among Chinese
    /// characters.
    pub fn of(text: &str) -> Self {
        let mut counts = Counts::default();
        counts.add(head(text, 4096));
        counts.most()
    }

    /// As ISO 15924 has it; `Jpan` for Kana.
    pub fn code(self) -> &'static str {
        if self == Self::KANA {
            "Jpan"
        } else {
            CODES[usize::from(self.0)]
        }
    }
}

/// At most so many bytes of a text.
pub fn head(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// How many letters of each script were seen.
pub struct Counts {
    letters: [u32; COUNT],
}

impl Default for Counts {
    fn default() -> Self {
        Self { letters: [0; COUNT] }
    }
}

impl Counts {
    pub fn add(&mut self, text: &str) {
        for c in text.chars() {
            self.letters[usize::from(Script::of_char(c).0)] += 1;
        }
    }

    pub fn of(&self, script: Script) -> u32 {
        self.letters[usize::from(script.0)]
    }

    /// The script that says most, `NONE` where there are no letters.
    pub fn most(&self) -> Script {
        self.best(|_| true).0
    }

    /// What stands beside the Latin letters of code and addresses, if it says so large a share of what these do; `NONE`
    /// where there is no such script.
    pub fn beside_latin(&self, share: f32) -> Script {
        let (script, said) = self.best(|script| script != Script::LATIN);
        if said as f32 >= share * self.of(Script::LATIN) as f32 {
            script
        } else {
            Script::NONE
        }
    }

    /// One of the wanted scripts and how much it says: a Chinese character or a Hangul syllable as much as two letters.
    fn best(&self, wanted: impl Fn(Script) -> bool) -> (Script, u32) {
        let (han, kana) = (self.of(Script::HAN), self.of(Script::KANA));
        let east = if kana * 20 >= han { Script::KANA } else { Script::HAN };
        let said = |script: Script| match script {
            found if found == east => 2 * (han + kana),
            Script::HAN | Script::KANA => 0,
            Script::HANGUL => 2 * self.of(script),
            other => self.of(other),
        };
        let scripts = (1..COUNT as u8).map(Script).filter(|script| wanted(*script));
        scripts
            .map(|script| (script, said(script)))
            .filter(|(_, said)| *said > 0)
            .max_by_key(|(_, said)| *said)
            .unwrap_or((Script::NONE, 0))
    }
}

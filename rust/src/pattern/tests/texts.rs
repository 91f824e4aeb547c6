//! Text drawn from alphabets in which every rule of every pattern has something to trip over.

/// A small generator (`SplitMix64`): the cases are the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Words and characters with which the rules deal; each alphabet is small, so that they meet.
const ALPHABETS: [&[&str]; 14] = [
    &["a", "b", "S", "'", "s", "t", "ll", "'LL", "'Ve", "'re", "d", "m", " ", "x"],
    &["'", "\u{17f}", "S", "l", "L", "e", "R", "v", "'\u{17f}", "é", "\u{212a}", "\u{df}"],
    &[" ", "  ", "\n", "\r", "\r\n", "\t", "\u{b}", "\u{c}", "a", "!", "1", "\u{a0}", "\u{3000}", "\u{2028}", "\u{85}"],
    &["0", "1", "23", "456", "7890", "a", " ", "٣", "५", "²", "Ⅷ", "①", "𝟘", ",", "."],
    &["!", "?", "/", "//", "\n", "\r", " ", "a", "B", "\u{301}", "'", "$", "€", "。", "\u{1f600}"],
    &["A", "B", "a", "b", "中", "文", "\u{301}", "\u{93f}", "ǅ", "ʰ", "'s", "'T", " ", "!", "1"],
    &[
        "\u{2764}\u{fe0f}",
        "\u{1f469}\u{200d}\u{2764}\u{fe0f}",
        "\u{200d}",
        "\u{fe0f}",
        "\u{20e3}",
        "1\u{fe0f}\u{20e3}",
        " ",
        "a",
        "!",
    ],
    &["न", "म", "स", "\u{94d}", "ते", "\u{902}", " ", "।", "१", "a", "A", "\n"],
    &["ا", "ل", "\u{64b}", "\u{640}", "٣", "،", " ", "\u{200f}", "\n", "ه"],
    &["ひ", "カ", "ー", "々", "、", "。", "「", "漢", "字", "\u{3000}", "A", "a", "１", "\n"],
    &["п", "П", "р", "и", "«", "»", " ", "—", "\u{301}", "Σ", "ς", "ß", "ẞ", "İ", "ı"],
    &["a", " ", "\n", "1", "'", "!", "/", "A", "中", "\u{301}", "\u{a0}", "\u{fffd}"],
    &[
        "\u{10ffff}",
        "\u{e000}",
        "\u{378}",
        "\u{20000}",
        "\u{1d400}",
        "\u{16fe0}",
        "\u{e0100}",
        "\u{feff}",
        " ",
        "a",
        "\n",
        "'",
    ],
    &["\u{0}", "\u{7f}", "\u{1c}", "\u{180e}", "\u{200b}", "\u{1680}", "\u{202f}", "a", " ", "1", "\n"],
];

const BROKEN: [&[u8]; 12] = [
    b"\xff",
    b"\x80",
    b"\xc2",
    b"\xe4\xb8",
    b"\xf0\x9f\x98",
    b"\xed\xa0\x80",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xbf\xbf",
    b"\xf8",
    b"\xe2\x80",
];

/// About `pieces` pieces, most of them of one alphabet, some repeated into runs, some broken.
pub fn hostile(random: &mut Random, pieces: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut alphabet = *random.pick(&ALPHABETS);
    let (broken, any, switch) =
        (random.below(2) * random.below(8), random.below(2) * random.below(20), random.below(40));
    for _ in 0..pieces {
        let roll = random.below(100);
        if roll < broken {
            text.extend_from_slice(random.pick::<&[u8]>(&BROKEN));
        } else if roll < broken + any {
            let point = char::from_u32(random.below(0x11_0000) as u32).unwrap_or('\u{d7ff}');
            text.extend_from_slice(point.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            let piece = random.pick(alphabet).as_bytes();
            let times = if random.below(30) == 0 { random.below(90) } else { 1 };
            text.extend(piece.iter().copied().cycle().take(piece.len() * times));
        }
        if random.below(100) < switch {
            alphabet = *random.pick(&ALPHABETS);
        }
    }
    text
}

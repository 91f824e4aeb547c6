//! Which characters ftfy 6.3.1 (Apache-2.0) tells mojibake by: the four hundred that bytes of UTF-8 become where they are
//! read as one byte a character, in fourteen categories.

use std::sync::LazyLock;

pub const COMMON: u16 = 1;
pub const C1: u16 = 2;
pub const BAD: u16 = 4;
pub const LAW: u16 = 8;
pub const CURRENCY: u16 = 16;
pub const START: u16 = 32;
pub const END: u16 = 64;
pub const NUMERIC: u16 = 128;
pub const KAOMOJI: u16 = 256;
pub const UPPER: u16 = 512;
pub const LOWER: u16 = 1024;
pub const UPPER_COMMON: u16 = 2048;
pub const LOWER_COMMON: u16 = 4096;
pub const BOX: u16 = 8192;

#[rustfmt::skip]
const MEMBERS: [(u16, &str); 14] = [
    (COMMON, "\u{a0}\u{ad}´·–—―’…"),
    (C1, "\
     \u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\
     \u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}"),
    (BAD, "¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊�"),
    (LAW, "§¶"),
    (CURRENCY, "¢£¥₧€"),
    (START, "¡©«¿΄΅‘‚“„•‹\u{f8ff}"),
    (END, "®»˝”›™"),
    (NUMERIC, "±²³µ¹¼½¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥"),
    (KAOMOJI, "°ÒÓÔÕÖÙÚÛÜòóôõöøùúûüŌŐŪŲ"),
    (UPPER, "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ"),
    (LOWER, "ßàáâãäåæçèéêëìíîïðñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґﬁﬂ"),
    (UPPER_COMMON, "ÞΆΈΉΊΌΎΏΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ\u{3a2}ΣΤΥΦΧΨΩΪΫЁЂЃЄЅІЇЈЉЊЋЌЍЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"),
    (LOWER_COMMON, "άέήίΰαβγδεζηθικλμνξοπρςστυφχψωабвгдежзийклмнопрстуфхцчшщъыьэюяѐёђѓєѕіїјљњћќѝўџ"),
    (BOX, "│┌┐┘├┤┬┼═║╒╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡╢╣╤╥╦╧╨╩╪╫╬▀▄█▌▐░▒▓"),
];

static TABLE: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut table = vec![0; 0x1_0000];
    for (category, members) in MEMBERS {
        members.chars().for_each(|c| table[c as usize] |= category);
    }
    table
});

/// The categories that a character belongs to.
pub fn categories(c: char) -> u16 {
    TABLE.get(c as usize).copied().unwrap_or_default()
}

/// Whether a text without a character of this kind cannot be mojibake.
pub fn is_clue(c: char) -> bool {
    const HARMLESS: u16 = COMMON | KAOMOJI | UPPER_COMMON | LOWER_COMMON;
    // the last two make `вЂ` and `Ó°`
    categories(c) & !HARMLESS != 0 || matches!(c, 'Ђ' | '°')
}

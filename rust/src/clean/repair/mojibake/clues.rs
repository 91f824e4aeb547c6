//! What stands for the first and the following bytes of UTF-8 where it was read as one byte a character: ftfy 6.3.1's
//! clues (Apache-2.0), made of latin-1 and the Windows encodings.

use std::sync::LazyLock;

pub const FIRST_OF_2: u8 = 1;
pub const FIRST_OF_3: u8 = 2;
pub const FIRST_OF_4: u8 = 4;
pub const FOLLOWING: u8 = 8;
/// Follows, and seldom stands for itself beside mojibake.
pub const STRICT: u8 = 16;

#[rustfmt::skip]
const MEMBERS: [(u8, &str); 5] = [
    (FIRST_OF_2, "\
     ÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßĀĂĆČĎĐĒĖĘĚĞĢĪİĶĹĻŁŃŅŇŌŐŘŚŞŠŢŪŮŰŲŹŻŽΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩΪΫάέήίВГДЕЖЗ\
     ИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯ"),
    (FIRST_OF_3, "àáâãäåæçèéêëìíîïāăąćčďēėęěģīįķĺļŕźΰαβγδεζηθικλμνξοабвгдежзийклмноп"),
    (FIRST_OF_4, "ðóđğšπσру"),
    (FOLLOWING, "\
     \u{20}\u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\
     \u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\
     \u{9f}\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÆØæøĄąĽľŁłŒœŖŗŚśŞşŠšŤťŸŹźŻżŽžƒˆˇ˘˛˜˝΄΅ΆΈΉΊΌΎΏЁЂЃЄЅІЇ\
     ЈЉЊЋЌЎЏёђѓєѕіїјљњћќўџҐґ–—―‘’‚“”„†‡•…‰‹›€№™"),
    (STRICT, "\
     \u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\u{8f}\
     \u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\u{9e}\u{9f}\
     \u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÆØæøĄąĽľŁłŒœŖŗŚśŞşŠšŤťŸŹźŻżŽžƒˆˇ˘˛˜˝΄΅ΆΈΉΊΌΎΏЁЂЃЄЅІЇЈЉЊЋЌЎ\
     ЏёђѓєѕіїјљњћќўџҐґ†‡‰‹›€№™"),
];

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut table = vec![0; 0x1_0000];
    for (clue, members) in MEMBERS {
        members.chars().for_each(|c| table[c as usize] |= clue);
    }
    table
});

/// What a character may stand for.
pub fn clue(c: char) -> u8 {
    TABLE.get(c as usize).copied().unwrap_or_default()
}

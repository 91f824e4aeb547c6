//! The ten encodings of one byte a character in which UTF-8 is misread, in the order in which they are tried.

use std::sync::LazyLock;

/// What bytes from 0x80 on mean; where Windows has nothing, latin-1's control characters.
#[rustfmt::skip]
const UPPER_HALVES: [(&str, bool); 10] = [
    // latin-1
    ("\
     \u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\
     \u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\
     \u{9e}\u{9f}\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâã\
     äåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ", false),
    // windows-1252
    ("\
     €\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶\
     ·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ", true),
    // windows-1251
    ("\
     ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—\u{98}™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙК\
     ЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя", true),
    // windows-1250
    ("\
     €\u{81}‚\u{83}„…†‡\u{88}‰Š‹ŚŤŽŹ\u{90}‘’“”•–—\u{98}™š›śťžź\u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶\
     ·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙", true),
    // windows-1253
    ("\
     €\u{81}‚ƒ„…†‡\u{88}‰\u{8a}‹\u{8c}\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}\u{9d}\
     \u{9e}\u{9f}\u{a0}΅Ά£¤¥¦§¨©ª«¬\u{ad}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡÒΣΤΥΦΧΨΩΪΫάέήίΰαβγ\
     δεζηθικλμνξοπρςστυφχψωϊϋόύώÿ", true),
    // windows-1254
    ("\
     €\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}\u{8e}\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}\u{9e}Ÿ\u{a0}¡¢£¤¥¦§¨©ª«¬\
     \u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ", true),
    // windows-1257
    ("\
     €\u{81}‚\u{83}„…†‡\u{88}‰\u{8a}‹\u{8c}¨ˇ¸\u{90}‘’“”•–—\u{98}™\u{9a}›\u{9c}¯˛\u{9f}\u{a0}¡¢\
     £¤¥¦§Ø©Ŗ«¬\u{ad}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷\
     ųłśūüżž˙", true),
    // iso-8859-2
    ("\
     \u{80}\u{81}\u{82}\u{83}\u{84}\u{85}\u{86}\u{87}\u{88}\u{89}\u{8a}\u{8b}\u{8c}\u{8d}\u{8e}\
     \u{8f}\u{90}\u{91}\u{92}\u{93}\u{94}\u{95}\u{96}\u{97}\u{98}\u{99}\u{9a}\u{9b}\u{9c}\u{9d}\
     \u{9e}\u{9f}\u{a0}Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâă\
     äĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙", false),
    // macroman
    ("\
     ÄÅÇÉÑÖÜáàâäãåçéèêëíìîïñóòôöõúùûü†°¢£§•¶ß®©™´¨≠ÆØ∞±≤≥¥µ∂∑∏π∫ªºΩæø¿¡¬√ƒ≈∆«»…\u{a0}ÀÃÕŒœ–—“”‘\
     ’÷◊ÿŸ⁄€‹›ﬁﬂ‡·‚„‰ÂÊÁËÈÍÎÏÌÓÔ\u{f8ff}ÒÚÛÙıˆ˜¯˘˙˚¸˝˛ˇ", false),
    // cp437
    ("\
     ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘\
     ┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}", false),
];

/// Windows-1252 by its place above.
const WINDOWS_1252: usize = 1;
const MACROMAN: usize = 8;

/// One byte a character.
pub struct Encoding {
    /// In order, for looking up.
    bytes: Vec<(char, u8)>,
    /// Whether byte 0x1A stands for what a reader could not read, U+FFFD.
    pub is_sloppy: bool,
    /// There an en dash before a blank would look like half a character.
    pub is_macroman: bool,
}

impl Encoding {
    /// The bytes of a text that [`possible`] says this encoding can have been.
    pub fn encode(&self, text: &[char]) -> Vec<u8> {
        let byte = |&c: &char| match c {
            '\u{fffd}' => 0x1a,
            c if c.is_ascii() => c as u8,
            c => self.bytes[self.bytes.binary_search_by_key(&c, |pair| pair.0).expect("possible")].1,
        };
        text.iter().map(byte).collect()
    }
}

static ENCODINGS: LazyLock<Vec<Encoding>> = LazyLock::new(|| {
    let encoding = |(place, (upper, is_sloppy)): (usize, &(&str, bool))| {
        let mut bytes: Vec<(char, u8)> = upper.chars().zip(0x80..=0xff).collect();
        bytes.sort_unstable();
        Encoding { bytes, is_sloppy: *is_sloppy, is_macroman: place == MACROMAN }
    };
    UPPER_HALVES.iter().enumerate().map(encoding).collect()
});

/// For each character a bit for each encoding that has it.
static HOLDERS: LazyLock<Vec<u16>> = LazyLock::new(|| {
    let mut holders = vec![0; 0x1_0000];
    for (place, encoding) in ENCODINGS.iter().enumerate() {
        let ascii = (0..0x80u8).filter(|&byte| !(encoding.is_sloppy && byte == 0x1a)).map(char::from);
        let lost = encoding.is_sloppy.then_some('\u{fffd}');
        let upper = encoding.bytes.iter().map(|pair| pair.0);
        ascii.chain(lost).chain(upper).for_each(|c| holders[c as usize] |= 1 << place);
    }
    holders
});

/// The encodings that have every character of a text.
pub fn possible(text: &[char]) -> impl Iterator<Item = &'static Encoding> {
    let holders = |&c: &char| HOLDERS.get(c as usize).copied().unwrap_or_default();
    let all = text.iter().map(holders).fold(u16::MAX, |all, one| all & one);
    ENCODINGS.iter().enumerate().filter(move |(place, _)| all >> place & 1 == 1).map(|(_, encoding)| encoding)
}

/// What Windows-1252 has in the place of a control character of latin-1.
pub fn windows_1252(c: char) -> Option<char> {
    let upper = UPPER_HALVES[WINDOWS_1252].0;
    matches!(c, '\u{80}'..='\u{9f}').then(|| upper.chars().nth(c as usize - 0x80)).flatten()
}

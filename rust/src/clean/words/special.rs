//! Words that are known by heart: contractions with an apostrophe, abbreviations with their full stop, times of the
//! day and emoticons, as spaCy's English has them. A contraction written without its apostrophe (`dont`, `im`) is none
//! here: too many of them are words of other languages.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// No special word is longer, in bytes.
pub const LONGEST: usize = 24;

static SPECIAL: LazyLock<Special> = LazyLock::new(Special::new);

type Known = HashMap<String, Vec<u8>, BuildHasherDefault<Folded>>;

pub struct Special {
    /// The lengths of its words, by what is known.
    known: Known,
    /// By first byte, a bit for each length that something known has: most words are told apart by these alone.
    lengths: [u32; 256],
}

impl Special {
    pub fn get() -> &'static Special {
        &SPECIAL
    }

    fn new() -> Self {
        let known = all();
        let mut lengths = [0; 256];
        for word in known.keys() {
            lengths[usize::from(word.as_bytes()[0])] |= 1 << word.len();
        }
        Self { known, lengths }
    }

    /// The lengths of the words that `chunk` is by heart; None where it is nothing special.
    #[inline(always)]
    pub fn of(&self, chunk: &str) -> Option<&[u8]> {
        let first = *chunk.as_bytes().first()?;
        if chunk.len() > LONGEST || self.lengths[usize::from(first)] >> chunk.len() & 1 == 0 {
            return None;
        }
        self.known.get(chunk).map(Vec::as_slice)
    }
}

/// A hash of the first and the last eight bytes: what is known by heart is short.
#[derive(Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        let eight = |part: &[u8]| part.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let (first, last) = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => (u64::from_le_bytes(*first), u64::from_le_bytes(*last)),
            _ => (eight(bytes), 0),
        };
        let product = u128::from(first ^ last.rotate_left(29) ^ bytes.len() as u64) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write_u8(&mut self, _end_of_a_string: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

const SUBJECTS: &str = "i you he she it we they who what when where why how there that this these those";
const NEGATED: &str =
    "ca could do does did had may might must need ought sha should wo would ai are is was were have has dare";
const NEGATED_TWICE: &str = "ca could do does did had may might must need ought sha should wo would";
const WOULD_HAVE: &str = "could might must should would not";
const CUT: &str = "y'|all how|'d|'y How|'d|'y can|not Can|not gon|na Gon|na got|ta Got|ta let|'s Let|'s c'm|on C'm|on \
                   i|'m I|'m i|'m|a I|'m|a °|c|. °|f|. °|k|. °|C|. °|F|. °|K|.";
const WHOLE: &str =
    "doin' Doin' goin' Goin' nothin' Nothin' nuthin' Nuthin' ol' Ol' somethin' Somethin' 'em 'll 'nuff \
                     'S 's \u{2018}S \u{2018}s and/or w/o 're 'Cause 'cause 'cos 'Cos 'coz 'Coz 'cuz 'Cuz 'bout ma'am \
                     Ma'am o'clock O'clock lovin' Lovin' havin' Havin' 'd";
const ABBREVIATIONS: &str =
    "Mt. Ak. Ala. Apr. Ariz. Ark. Aug. Calif. Colo. Conn. Dec. Del. Feb. Fla. Ga. Ia. Id. Ill. \
                             Ind. Jan. Jul. Jun. Kan. Kans. Ky. La. Mar. Mass. Mich. Minn. Miss. N.C. N.D. N.H. N.J. \
                             N.M. N.Y. Neb. Nebr. Nev. Nov. Oct. Okla. Ore. Pa. S.C. Sep. Sept. Tenn. Va. Wash. Wis. \
                             a.m. Adm. Bros. co. Co. Corp. D.C. Dr. e.g. E.g. E.G. Gen. Gov. i.e. I.e. I.E. Inc. Jr. \
                             Ltd. Md. Messrs. Mo. Mont. Mr. Mrs. Ms. p.m. Ph.D. Prof. Rep. Rev. Sen. St. vs. v.s. ä. \
                             ö. ü. \\t \\n — ' \\\") <space> '' C++";
const EMOTICONS: &str = r":) :-) :)) :-)) :))) :-))) (: (-: =) (= :] :-] [: [-: [= =] :o) (o: :} :-} 8) 8-) (-8 ;) ;-) (; (-;
:( :-( :(( :-(( :((( :-((( ): )-: =( >:( :') :'-) :'( :'-( :/ :-/ =/ =| :| :-| ]= =[ :1 :P :-P :p :-p :O :-O :o :-o :0
:-0 :() >:o :* :-* :3 :-3 =3 :> :-> :X :-X :x :-x :D :-D ;D ;-D =D xD XD xDD XDD 8D 8-D ^_^ ^__^ ^___^ >.< >.> <.< ._. ;_;
-_- -__- v.v V.V v_v V_V o_o o_O O_o O_O 0_o o_0 0_0 o.O O.o O.O o.o 0.0 o.0 0.o @_@ <3 <33 <333 </3 (^_^) (-_-) (._.)
(>_<) (*_*) (¬_¬) ಠ_ಠ ಠ︵ಠ (ಠ_ಠ) ¯\(ツ)/¯ (╯°□°）╯︵┻━┻ ><(((*>";

/// `word`, and as a title.
fn cases(word: &str) -> [String; 2] {
    let (first, rest) = word.split_at(1);
    [word.to_owned(), format!("{}{rest}", first.to_uppercase())]
}

fn all() -> Known {
    let mut known = Known::default();
    let mut add = |parts: &str| {
        for apostrophe in ["'", "’"] {
            let parts = parts.replace('\'', apostrophe);
            known.insert(parts.replace('|', ""), parts.split('|').map(|part| part.len() as u8).collect());
        }
    };
    contractions(&mut add);
    [CUT, WHOLE, ABBREVIATIONS].iter().flat_map(|words| words.split_whitespace()).for_each(&mut add);
    ('a'..='z').for_each(|letter| add(&format!("{letter}.")));
    for hour in 1..=12 {
        ["a.m.", "am", "p.m.", "pm"].iter().for_each(|period| add(&format!("{hour}|{period}")));
    }
    for emoticon in EMOTICONS.split_whitespace() {
        for emoticon in [emoticon.to_owned(), emoticon.replace('\'', "’")] {
            let whole = vec![emoticon.len() as u8];
            known.insert(emoticon, whole);
        }
    }
    known
}

fn contractions(add: &mut impl FnMut(&str)) {
    for (place, subject) in SUBJECTS.split(' ').flat_map(|word| cases(word).map(|cased| (word, cased))) {
        let ends: &[&str] = match place {
            "i" => &["'ll", "'ll|'ve", "'d", "'d|'ve", "'ve"],
            "he" | "she" | "it" => &["'ll", "'ll|'ve", "'d", "'d|'ve", "'s"],
            "that" | "this" => &["'s", "'ll", "'ll|'ve", "'d", "'d|'ve"],
            "these" | "those" => &["'ll", "'ll|'ve", "'re", "'ve", "'d", "'d|'ve"],
            "you" | "we" | "they" => &["'ll", "'ll|'ve", "'d", "'d|'ve", "'ve", "'re"],
            _ => &["'s", "'ll", "'ll|'ve", "'re", "'ve", "'d", "'d|'ve"],
        };
        ends.iter().for_each(|end| add(&format!("{subject}|{end}")));
    }
    for verb in NEGATED.split(' ').flat_map(cases) {
        add(&format!("{verb}|n't"));
    }
    for verb in NEGATED_TWICE.split(' ').flat_map(cases) {
        add(&format!("{verb}|n't|'ve"));
    }
    for verb in WOULD_HAVE.split(' ').flat_map(cases) {
        add(&format!("{verb}|'ve"));
    }
}

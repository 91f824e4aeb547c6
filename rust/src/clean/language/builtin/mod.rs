//! The identifier that needs no file: scripts that one language has are its names; where several share one, a small
//! model of letters and words tells them apart (`tools/train-language-model` makes it), and a text must have its share
//! of the language's commonest words too, for a model that knows a hundred languages finds one of them in any text.

mod sample;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::script::Counts;
use super::{FastText, Language, Scratch, Script};
use sample::{letters, pieces};

/// Scripts that tell the language: others that are written in them are rare in text of the web.
const ALONE: [(&str, &str); 18] = [
    ("Armn", "hye_Armn"),
    ("Cher", "chr_Cher"),
    ("Geor", "kat_Geor"),
    ("Grek", "ell_Grek"),
    ("Gujr", "guj_Gujr"),
    ("Guru", "pan_Guru"),
    ("Hang", "kor_Hang"),
    ("Jpan", "jpn_Jpan"),
    ("Khmr", "khm_Khmr"),
    ("Knda", "kan_Knda"),
    ("Laoo", "lao_Laoo"),
    ("Mlym", "mal_Mlym"),
    ("Orya", "ory_Orya"),
    ("Sinh", "sin_Sinh"),
    ("Taml", "tam_Taml"),
    ("Telu", "tel_Telu"),
    ("Thaa", "div_Thaa"),
    ("Thai", "tha_Thai"),
];

/// A script of two languages whose letters tell them apart.
struct Marked {
    script: &'static str,
    usual: &'static str,
    other: &'static str,
    /// Whether a letter is one that the usual language does without.
    marks: fn(char) -> bool,
    /// The share of such letters from which on a text is in the other one.
    share: f32,
}

const MARKED: [Marked; 3] = [
    Marked {
        script: "Hani",
        usual: "cmn_Hani",
        other: "yue_Hani",
        marks: |c| matches!(c, '嘅' | '係' | '唔' | '咗' | '喺' | '佢' | '哋' | '嘢' | '冇'),
        share: 0.01,
    },
    Marked {
        script: "Ethi",
        usual: "amh_Ethi",
        other: "tir_Ethi",
        marks: |c| matches!(c, '\u{1250}'..='\u{125d}' | 'ኣ' | '\u{12b8}'..='\u{12c5}'),
        share: 0.01,
    },
    // Mon, Shan and Karen have letters of their own
    Marked {
        script: "Mymr",
        usual: "mya_Mymr",
        other: "und_Mymr",
        marks: |c| matches!(c, '\u{1050}'..='\u{109f}'),
        share: 0.03,
    },
];

/// How sure the model must be.
const SURE: f32 = 0.5;

/// After the first words one of so many must be another common one, until so many different ones were seen.
const FIRST: f32 = 20.0;
const WORDS_FOR_EACH: f32 = 25.0;
const DIFFERENT: f32 = 4.0;

struct Known {
    code: Language,
    /// Its commonest words by their number.
    common: HashMap<&'static str, u32>,
    /// The share of a text's words that are among the common ones at least.
    floor: f32,
}

struct Model {
    model: FastText,
    /// Of each label: its code, and what is known of the languages that are named.
    labels: Vec<(Language, Option<Known>)>,
}

static MODEL: LazyLock<Model> = LazyLock::new(|| {
    let model = FastText::built_in(include_bytes!("model.ftz"));
    let mut known: Vec<Known> = include_str!("words.txt").lines().map(read).collect();
    let labels = model.labels().iter().map(|label| {
        let code = Language::of(label, "");
        (code, known.iter().position(|known| known.code == code).map(|at| known.swap_remove(at)))
    });
    Model { labels: labels.collect(), model }
});

/// A line of `words.txt`: code, floor, words.
fn read(line: &'static str) -> Known {
    let mut parts = line.split(' ');
    let code = parts.next().and_then(Language::parse).expect("a code");
    let floor = parts.next().and_then(|part| part.parse().ok()).expect("a share");
    Known { code, floor, common: parts.zip(0..u64::BITS).collect() }
}

/// The languages that the identifier names.
pub fn known() -> Vec<Language> {
    let code = |code| Language::parse(code).expect("a code");
    let mut all: Vec<Language> = ALONE.iter().map(|(_, alone)| code(alone)).collect();
    all.extend(MARKED.iter().flat_map(|marked| [code(marked.usual), code(marked.other)]));
    all.extend(MODEL.labels.iter().filter_map(|(_, known)| known.as_ref()).map(|known| known.code));
    all.retain(Language::is_known);
    all.sort();
    all
}

/// An article on a program has more Latin letters, in code and addresses, than others: from this share of the others on
/// its language is theirs. One that reads as English has more of them: English pages have menus of other languages.
const BESIDE_UNKNOWN: f32 = 0.2;
const BESIDE_ENGLISH: f32 = 0.5;

/// The language of a text and how sure that is; `und` with the text's script where no known one is likely.
pub fn identify(text: &str, scratch: &mut Scratch) -> (Language, f32) {
    let mut counts = Counts::default();
    pieces(text).for_each(|piece| counts.add(piece));
    let script = counts.most();
    let named = of_script(text, script, &counts, scratch);
    let beside = match named.0.as_str() {
        "und_Latn" => counts.beside_latin(BESIDE_UNKNOWN),
        "eng_Latn" => counts.beside_latin(BESIDE_ENGLISH),
        _ => Script::NONE,
    };
    if beside == Script::NONE {
        named
    } else {
        of_script(text, beside, &counts, scratch)
    }
}

/// The language of the letters of one script.
fn of_script(text: &str, script: Script, counts: &Counts, scratch: &mut Scratch) -> (Language, f32) {
    let code = script.code();
    let said = |language: &str| Language::parse(language).expect("a code");
    if script == Script::NONE {
        return (Language::UNKNOWN, 0.0);
    }
    if let Some((_, alone)) = ALONE.iter().find(|(script, _)| *script == code) {
        return (said(alone), 1.0);
    }
    if let Some(marked) = MARKED.iter().find(|marked| marked.script == code) {
        let found = pieces(text).flat_map(str::chars).filter(|c| (marked.marks)(*c)).count() as f32;
        let is_other = found > marked.share * counts.of(script) as f32;
        let language = said(if is_other { marked.other } else { marked.usual });
        return (language, f32::from(u8::from(language.is_known())));
    }
    let mut sample = std::mem::take(&mut scratch.sample);
    letters(text, script, &mut sample);
    let found = MODEL.ask(&sample, code, scratch);
    scratch.sample = sample;
    found.unwrap_or((unknown(script), 0.0))
}

fn unknown(script: Script) -> Language {
    Language::parse(&format!("und_{}", script.code())).expect("a code")
}

impl Model {
    /// The best of the languages that are written in a script, if it is a known one and the text bears it out.
    fn ask(&self, sample: &str, script: &str, scratch: &mut Scratch) -> Option<(Language, f32)> {
        let (mut best, mut sum) = (None, 0.0);
        for (label, probability) in self.model.predict(sample, self.labels.len(), scratch) {
            if self.labels[label].0.script() == script {
                best = best.or(Some((label, probability)));
                sum += probability;
            }
        }
        let (label, probability) = best?;
        let sure = (probability / sum).min(1.0);
        let known = self.labels[label].1.as_ref()?;
        (sure >= SURE && known.bears_out(sample)).then_some((known.code, sure))
    }
}

impl Known {
    /// Whether enough of a text's words are common ones, and enough different ones: a language that shares `ja` with Finnish
    /// says it as often. A short text may have one or two too few.
    fn bears_out(&self, sample: &str) -> bool {
        let (mut words, mut common, mut different) = (0.0, 1.5, 0u64);
        for word in sample.split_ascii_whitespace() {
            words += 1.0;
            if let Some(number) = self.common.get(word) {
                common += 1.0;
                different |= 1 << number;
            }
        }
        common >= self.floor * words
            && different.count_ones() as f32 >= ((words - FIRST) / WORDS_FOR_EACH).min(DIFFERENT)
    }
}

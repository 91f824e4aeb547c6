//! The table of every key: what it measures, where it draws the line by default, and the reason it gives.

/// When a measure fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Fails below the threshold.
    Below,
    /// Fails above the threshold.
    Above,
    /// No threshold: says how something is measured, or how lines are dropped.
    Option,
}

impl Comparison {
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Below => "<",
            Comparison::Above => ">",
            Comparison::Option => "",
        }
    }
}

/// What a key takes, with its default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Takes {
    /// A number, or null for off.
    Number(Option<f64>),
    Switch(bool),
    /// Strings, and what they are where nobody says.
    Strings(&'static [&'static str]),
    /// The path of a file or folder, or null.
    Path,
}

#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub key: &'static str,
    /// datatrove's name of the reason, where it has one.
    pub reason: &'static str,
    pub family: &'static str,
    /// One of [`NAMES`], or nothing.
    pub measure: &'static str,
    pub comparison: Comparison,
    /// Whether the threshold can change without reading the text again.
    pub rethresholds: bool,
    pub takes: Takes,
}

/// The families, in an order that nothing depends on.
pub const FAMILIES: [&str; 9] =
    ["gopher_repetition", "gopher", "c4", "c4_paragraph", "fineweb", "bad_words", "length", "banned", "symbols"];

pub const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

/// The measures, in the order in which they are kept.
pub const NAMES: [&str; 39] = [
    "repetition.characters",
    "repetition.dup_para_frac",
    "repetition.dup_para_char_frac",
    "repetition.dup_line_frac",
    "repetition.dup_line_char_frac",
    "repetition.top_2_gram",
    "repetition.top_3_gram",
    "repetition.top_4_gram",
    "repetition.dup_5_gram",
    "repetition.dup_6_gram",
    "repetition.dup_7_gram",
    "repetition.dup_8_gram",
    "repetition.dup_9_gram",
    "repetition.dup_10_gram",
    "gopher.word_count",
    "gopher.mean_word_length",
    "gopher.hash_ratio",
    "gopher.ellipsis_ratio",
    "gopher.bullet_lines",
    "gopher.ellipsis_lines",
    "gopher.alphabetic_words",
    "gopher.stop_words",
    "c4.lorem_ipsum",
    "c4.curly_bracket",
    "c4.sentences",
    "c4.lines",
    "c4.lines_dropped",
    "c4_paragraph.third_longest_line",
    "fineweb.lines",
    "fineweb.line_punct_ratio",
    "fineweb.short_line_ratio",
    "fineweb.char_dup_ratio",
    "fineweb.list_ratio",
    "bad_words.count",
    "length.characters",
    "length.words",
    "banned.count",
    "symbols.symbol_ratio",
    "symbols.digit_ratio",
];

/// The place of a measure; checked when the program is compiled.
pub const fn place(name: &str) -> usize {
    let mut at = 0;
    while at < NAMES.len() {
        if same(NAMES[at], name) {
            return at;
        }
        at += 1;
    }
    panic!("a measure has no such name")
}

const fn same(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut at = 0;
    while at < left.len() && at < right.len() && left[at] == right[at] {
        at += 1;
    }
    at == left.len() && at == right.len()
}

const fn fails(
    family: &'static str,
    key: &'static str,
    comparison: Comparison,
    threshold: Option<f64>,
    reason: &'static str,
) -> Key {
    let takes = Takes::Number(threshold);
    Key { key, reason, family, measure: key, comparison, rethresholds: true, takes }
}

const fn of(measure: &'static str, key: Key) -> Key {
    Key { measure, ..key }
}

const fn option(family: &'static str, key: &'static str, takes: Takes) -> Key {
    Key { key, reason: "", family, measure: "", comparison: Comparison::Option, rethresholds: false, takes }
}

use Comparison::{Above, Below};

const REPETITION: &str = "gopher_repetition";

/// Every key, those of a family in the order in which the family tries them.
pub const KEYS: [Key; 53] = [
    fails(REPETITION, "repetition.characters", Below, Some(1.0), "empty"),
    fails(REPETITION, "repetition.dup_para_frac", Above, Some(0.3), "dup_para_frac"),
    fails(REPETITION, "repetition.dup_para_char_frac", Above, Some(0.2), "dup_para_char_frac"),
    fails(REPETITION, "repetition.dup_line_frac", Above, Some(0.3), "dup_line_frac"),
    fails(REPETITION, "repetition.dup_line_char_frac", Above, Some(0.2), "dup_line_char_frac"),
    fails(REPETITION, "repetition.top_2_gram", Above, Some(0.2), "top_2_gram"),
    fails(REPETITION, "repetition.top_3_gram", Above, Some(0.18), "top_3_gram"),
    fails(REPETITION, "repetition.top_4_gram", Above, Some(0.16), "top_4_gram"),
    fails(REPETITION, "repetition.dup_5_gram", Above, Some(0.15), "duplicated_5_n_grams"),
    fails(REPETITION, "repetition.dup_6_gram", Above, Some(0.14), "duplicated_6_n_grams"),
    fails(REPETITION, "repetition.dup_7_gram", Above, Some(0.13), "duplicated_7_n_grams"),
    fails(REPETITION, "repetition.dup_8_gram", Above, Some(0.12), "duplicated_8_n_grams"),
    fails(REPETITION, "repetition.dup_9_gram", Above, Some(0.11), "duplicated_9_n_grams"),
    fails(REPETITION, "repetition.dup_10_gram", Above, Some(0.1), "duplicated_10_n_grams"),
    fails("gopher", "gopher.word_count", Below, Some(50.0), "gopher_short_doc"),
    of("gopher.word_count", fails("gopher", "gopher.max_word_count", Above, Some(100_000.0), "gopher_long_doc")),
    fails("gopher", "gopher.mean_word_length", Below, Some(3.0), "gopher_below_avg_threshold"),
    of(
        "gopher.mean_word_length",
        fails("gopher", "gopher.max_mean_word_length", Above, Some(10.0), "gopher_above_avg_threshold"),
    ),
    fails("gopher", "gopher.hash_ratio", Above, Some(0.1), "gopher_too_many_hashes"),
    fails("gopher", "gopher.ellipsis_ratio", Above, Some(0.1), "gopher_too_many_ellipsis"),
    fails("gopher", "gopher.bullet_lines", Above, Some(0.9), "gopher_too_many_bullets"),
    fails("gopher", "gopher.ellipsis_lines", Above, Some(0.3), "gopher_too_many_end_ellipsis"),
    fails("gopher", "gopher.alphabetic_words", Below, Some(0.8), "gopher_below_alpha_threshold"),
    fails("gopher", "gopher.stop_words", Below, Some(2.0), "gopher_enough_stop_words"),
    option("gopher", "gopher.stop_word_list", Takes::Strings(&STOP_WORDS)),
    fails("c4", "c4.lorem_ipsum", Above, Some(0.0), "lorem_ipsum"),
    fails("c4", "c4.curly_bracket", Above, Some(0.0), "curly_bracket"),
    fails("c4", "c4.sentences", Below, Some(5.0), "too_few_sentences"),
    option("c4", "c4.max_word_length", Takes::Number(Some(1000.0))),
    option("c4", "c4.citations", Takes::Switch(true)),
    option("c4", "c4.terminal_punctuation", Takes::Switch(true)),
    option("c4", "c4.min_words_per_line", Takes::Number(Some(3.0))),
    option("c4", "c4.javascript", Takes::Switch(true)),
    option("c4", "c4.policy", Takes::Switch(true)),
    fails("c4_paragraph", "c4_paragraph.third_longest_line", Below, Some(200.0), "< 3 paragraphs"),
    fails("fineweb", "fineweb.lines", Below, Some(1.0), "empty"),
    fails("fineweb", "fineweb.line_punct_ratio", Below, Some(0.12), "line_punct_ratio"),
    fails("fineweb", "fineweb.short_line_ratio", Above, Some(0.67), "short_line_ratio"),
    fails("fineweb", "fineweb.char_dup_ratio", Above, Some(0.01), "char_dup_ratio"),
    fails("fineweb", "fineweb.list_ratio", Above, Some(0.3), "list_ratio"),
    option("fineweb", "fineweb.short_line_length", Takes::Number(Some(30.0))),
    Key { rethresholds: true, ..option("fineweb", "fineweb.line_punct_exclude_zero", Takes::Switch(false)) },
    fails("bad_words", "bad_words.count", Above, Some(0.0), "document_removed_with_badwords"),
    option("bad_words", "bad_words.file", Takes::Path),
    of("length.characters", fails("length", "length.min_characters", Below, None, "length_few_characters")),
    of("length.characters", fails("length", "length.max_characters", Above, None, "length_many_characters")),
    of("length.words", fails("length", "length.min_words", Below, None, "length_few_words")),
    of("length.words", fails("length", "length.max_words", Above, None, "length_many_words")),
    fails("banned", "banned.count", Above, Some(0.0), "banned"),
    option("banned", "banned.substrings", Takes::Strings(&[])),
    option("banned", "banned.file", Takes::Path),
    fails("symbols", "symbols.symbol_ratio", Above, Some(0.3), "symbol_ratio"),
    fails("symbols", "symbols.digit_ratio", Above, Some(0.3), "digit_ratio"),
];

/// The place of a key.
pub fn key_place(key: &str) -> Option<usize> {
    KEYS.iter().position(|known| known.key == key)
}

/// The place of each key's measure; `NAMES.len()` for an option.
pub fn measures_of_keys() -> [usize; KEYS.len()] {
    KEYS.map(|key| if key.measure.is_empty() { NAMES.len() } else { place(key.measure) })
}

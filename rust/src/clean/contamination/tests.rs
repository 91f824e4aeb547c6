use super::fold::{simplified, words};
use super::*;

fn simple(text: &str) -> String {
    let mut out = String::new();
    simplified(text, &mut out);
    out
}

fn item(id: &str, query: &str, answer: &str) -> Item {
    Item { task: "t".into(), id: id.into(), query: query.into(), answer: answer.into() }
}

fn index(n: usize, grams: Grams, items: &[Item]) -> Index {
    Index::new(n, grams, items.to_vec()).unwrap()
}

fn gram(index: &Index, text: &str) -> Option<String> {
    index.check(text, &mut index.scratch()).map(|hit| hit.gram)
}

#[test]
fn words_lose_case_marks_punctuation_and_numbers() {
    assert_eq!(simple("Don't  —STOP— Éclair"), "don t stop eclair");
    assert_eq!(simple("3,000.50 1.5x ١٢٫٥ v2."), "0 0 0x 0 v0");
    assert_eq!(simple("STRASSE Straße ΟΔΟΣ οδός"), "strasse strasse οδοσ οδοσ");
    assert_eq!(simple("漢字かなabc ไทย"), "漢 字 か な abc ไ ท ย");
    assert_eq!(
        simple("soft\u{ad}hyphen e\u{301} 한국"),
        format!("softhyphen e {}", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}")
    );
    assert_eq!(simple(" \n!?"), "");
}

#[test]
fn simplifying_twice_changes_nothing_and_keeps_the_hashes() {
    for text in ["Don't STOP, 3.5 漢字 ไทย ǅ ŉ ΐ İ ﬁ ʼn ᾳ", "a1.2.3b ١٢٫٥,٣"] {
        let once = simple(text);
        assert_eq!(simple(&once), once);
        let hashes = |text: &str| {
            let mut found = Vec::new();
            words(text, |word| found.push((word.hash, word.is_character)));
            found
        };
        assert_eq!(hashes(text), hashes(&once));
    }
}

#[test]
fn every_character_is_simple_once_it_was_simplified() {
    for c in '\0'..=char::MAX {
        let once = simple(&format!("a{c}1{c}2.{c}b"));
        assert_eq!(simple(&once), once, "{c:?}");
    }
}

#[test]
fn grams_are_those_of_the_answer_and_of_the_border() {
    // the example in datatrove's NGramsDecontConfig
    let items = [item("0", "A B C D E", "F G H I J")];
    let index = index(4, Grams::Answer, &items);
    for found in ["c d e f", "d e f g", "e f g h", "f g h i", "g h i j"] {
        assert_eq!(gram(&index, &format!("x {found} y")).as_deref(), Some(found));
    }
    for clean in ["a b c d", "b c d e", "h i j k", "c d e x f", ""] {
        assert_eq!(gram(&index, clean), None, "{clean}");
    }
    let whole = super::tests::index(4, Grams::Whole, &items);
    assert_eq!(gram(&whole, "a b c d").as_deref(), Some("a b c d"));
}

#[test]
fn items_are_counted_and_all_that_stand_in_a_text_are_named() {
    let items = [
        item("a", "one two", "three four"),
        item("b", "one two", "three four"),
        item("c", "x", "y"),
        item("c", "x", "y z w v"),
    ];
    let index = index(4, Grams::Answer, &items);
    assert_eq!(index.tasks(), [Task { name: "t".into(), items: 3, items_with_a_gram: 3 }]);
    let mut scratch = index.scratch();
    assert_eq!(index.check("One, two: THREE four. X y z w", &mut scratch).unwrap().item, 0);
    assert_eq!(scratch.items, [0, 1, 2]);
    assert!(index.check("nothing", &mut scratch).is_none() && scratch.items.is_empty());
}

#[test]
fn writing_without_blanks_needs_twice_as_many() {
    let index = index(4, Grams::Answer, &[item("0", "春眠不覺", "曉處處聞")]);
    assert_eq!(gram(&index, "「春眠不覺曉，處處聞啼鳥」").as_deref(), Some("春 眠 不 覺 曉 處 處 聞"));
    assert_eq!(gram(&index, "眠不覺曉處處聞啼"), None);
}

#[test]
fn an_index_of_nothing_finds_nothing() {
    assert_eq!(gram(&index(13, Grams::Answer, &[]), &"word ".repeat(100)), None);
    assert!(Index::new(1, Grams::Answer, []).is_err());
}

use super::super::{Named, Pattern, Variant};
use super::texts::{hostile, Random};
use super::{ends_of, show};

/// Every scanner on every variant gives what the reference regex gives.
fn check(oracle: &Pattern, named: Named, text: &[u8]) {
    let expected = ends_of(oracle, text).0;
    for variant in Variant::available() {
        let found = ends_of(&Pattern::on(named, variant), text).0;
        if found != expected {
            let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let from = if same < 3 { 0 } else { expected[same - 3] };
            let to = text.len().min(from + 120);
            let near = |ends: &[usize]| {
                show(
                    &text[from..to],
                    &ends.iter().filter(|end| **end > from && **end <= to).map(|end| end - from).collect::<Vec<_>>(),
                )
            };
            panic!(
                "{} on {variant:?} differs at {from} of {}\n expected {}\n    found {}",
                named.name(),
                text.len(),
                near(&expected),
                near(&found)
            );
        }
    }
}

#[test]
fn short_hostile_texts() {
    for named in Named::ALL {
        let oracle = Pattern::from_regex(named.regex()).unwrap();
        let mut random = Random(1);
        for _ in 0..20_000 {
            let pieces = 1 + random.below(12);
            check(&oracle, named, &hostile(&mut random, pieces));
        }
    }
}

#[test]
fn hostile_texts_of_several_windows() {
    for named in Named::ALL {
        let oracle = Pattern::from_regex(named.regex()).unwrap();
        let mut random = Random(2);
        for _ in 0..2_000 {
            let pieces = 20 + random.below(300);
            check(&oracle, named, &hostile(&mut random, pieces));
        }
    }
}

/// A window decides 56 bytes and sees 5 before and 3 after: whatever a rule deals with is put at every offset.
#[test]
fn every_rule_across_every_window_edge() {
    let troubles = [
        "'s",
        "'ll x",
        "x'LL",
        "'\u{17f}a",
        "it's't",
        "don'tX",
        "1234567",
        "٣٤٥٦٧",
        "!\n\n /",
        "!\n//\u{301}a",
        "\n   x",
        "\n \n  x",
        "a\u{a0}\u{3000}b",
        "a \u{3000}",
        "!!\u{301}\u{301}\u{301}\u{301}x",
        "!\u{301}\u{301}x",
        " \u{2764}\u{fe0f}\u{fe0f}b",
        "中AB",
        "a中AB",
        "中文ABc",
        "中A\u{301}B",
        "x'sA中B",
        "aB",
        "\r\n\r\n",
        "/\n/",
        "'中'",
        "\u{1f600}a",
        " \u{1f600}a",
        "\u{ff}\u{1f600}\u{1f600}a",
    ];
    let broken: [&[u8]; 4] = [b"\xf0\x9f\x98a", b"a\xe4\xb8", b"!\xff'", b"\xed\xa0\x80\n"];
    let troubles: Vec<&[u8]> = troubles.iter().map(|text| text.as_bytes()).chain(broken).collect();
    for named in Named::ALL {
        let oracle = Pattern::from_regex(named.regex()).unwrap();
        for trouble in &troubles {
            for (before, after) in
                [("a", "b"), (" ", " "), ("!", "!"), ("1", "1"), ("\n", "\n"), ("A", ""), ("中", "中")]
            {
                for offset in 48..64 {
                    let mut text = before.repeat(offset / before.len()).into_bytes();
                    text.resize(offset, b'.');
                    text.extend_from_slice(trouble);
                    text.extend_from_slice(after.repeat(30).as_bytes());
                    check(&oracle, named, &text);
                }
            }
        }
    }
}

#[test]
fn runs_longer_than_windows_and_batches() {
    let mut random = Random(4);
    for named in Named::ALL {
        let oracle = Pattern::from_regex(named.regex()).unwrap();
        for unit in [
            "a", "1", " ", "\n", "'", "!", "'s", "it's", "\n ", " \n", "中", "中A", "A中", "\u{301}", "!\u{301}", "aB",
            "١", "\u{3000}", "/\n", "x ",
        ] {
            let text = unit.repeat(40_000 / unit.len());
            check(&oracle, named, text.as_bytes());
            let cut = random.below(2_000);
            let tails = ["\n", " \n x", "b", "Bc", "\u{301}", "9", "' "];
            check(&oracle, named, [&text.as_bytes()[..cut], random.pick(&tails).as_bytes()].concat().as_slice());
        }
        // pre-tokens enough for several batches, and no two windows alike
        let long = hostile(&mut random, 40_000);
        let pattern = Pattern::new(named.name()).unwrap();
        assert!(ends_of(&pattern, &long).1 > 1);
        check(&oracle, named, &long);
    }
}

/// What is quadratic takes hours here.
#[test]
fn time_is_linear_on_megabytes_of_one_thing() {
    let units = [
        "a",
        "A",
        "1",
        "٣",
        " ",
        "\n",
        "\t",
        "'",
        "!",
        "/",
        "'s",
        "\n ",
        "中",
        "中A",
        "\u{301}",
        "!\u{301}",
        "\u{1f600}",
        "\u{200d}",
        "\u{a0}",
    ];
    for unit in units {
        for lead in ["", "\n", "中", "!", "!!", "a'", " "] {
            let text = [lead.as_bytes(), unit.repeat((1 << 20) / unit.len()).as_bytes()].concat();
            for named in Named::ALL {
                let (ends, batches) = ends_of(&Pattern::new(named.name()).unwrap(), &text);
                assert_eq!(ends.last(), Some(&text.len()));
                assert!(batches <= 1 + ends.len() / 4096);
            }
        }
    }
    let capitals = ["中".repeat(1 << 18), "A".repeat(1 << 20), "中A".repeat(1 << 18), "b".into()].concat();
    ends_of(&Pattern::new("o200k").unwrap(), capitals.as_bytes());
}

#[test]
fn a_name_or_any_spelling_of_its_regex_brings_the_scanner() {
    for named in Named::ALL {
        for spelling in [named.name(), named.regex(), named.portable_regex()] {
            let pattern = Pattern::new(spelling).unwrap();
            assert_eq!((pattern.name(), pattern.regex()), (Some(named.name()), named.regex()));
            assert_eq!(pattern.portable_regex(), named.portable_regex());
        }
    }
    assert_eq!(Pattern::new("gpt3").unwrap().name(), None, "any other word is a regex");
}

#[test]
fn the_portable_spelling_means_the_same() {
    for named in Named::ALL {
        let (oracle, portable) =
            (Pattern::from_regex(named.regex()).unwrap(), Pattern::from_regex(named.portable_regex()).unwrap());
        let mut random = Random(5);
        for _ in 0..2_000 {
            let pieces = 1 + random.below(20);
            let text = hostile(&mut random, pieces);
            assert_eq!(ends_of(&oracle, &text), ends_of(&portable, &text), "{} {}", named.name(), text.escape_ascii());
        }
    }
}

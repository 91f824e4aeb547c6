use super::super::{Named, Pattern};
use super::texts::{hostile, Random};
use super::{ends_of, show};

#[test]
fn a_cut_changes_no_pre_token_whatever_follows() {
    for named in Named::ALL {
        let (pattern, oracle) = (Pattern::new(named.name()).unwrap(), Pattern::from_regex(named.regex()).unwrap());
        let mut random = Random(3);
        let mut offered = 0;
        for _ in 0..4_000 {
            let pieces = 1 + random.below(14);
            let whole = hostile(&mut random, pieces);
            // What is known of it may end inside a character.
            let text = &whole[..random.below(whole.len() + 1)];
            let expected = ends_of(&oracle, &whole).0;
            for at in 1..=text.len() + 1 {
                let Some(cut) = pattern.safe_cut(text, at - 1, at) else { continue };
                assert_eq!(cut, at);
                offered += 1;
                let mut found = ends_of(&oracle, &whole[..cut]).0;
                found.extend(ends_of(&oracle, &whole[cut..]).0.iter().map(|end| cut + end));
                assert!(
                    found == expected,
                    "{} cut at {cut} of {}\n expected {}\n    found {}",
                    named.name(),
                    whole.escape_ascii(),
                    show(&whole, &expected),
                    show(&whole, &found)
                );
            }
        }
        assert!(offered > 3_000, "{} offered {offered} cuts", named.name());
    }
}

#[test]
fn the_last_cut_in_range_is_offered() {
    let pattern = Pattern::new("gpt2").unwrap();
    let text = b"one two three";
    assert_eq!(pattern.safe_cut(text, 0, 13), Some(7));
    assert_eq!(pattern.safe_cut(text, 0, 7), Some(7));
    assert_eq!(pattern.safe_cut(text, 0, 6), Some(3));
    assert_eq!(pattern.safe_cut(text, 3, 6), None, "low itself is out of range");
    assert_eq!(pattern.safe_cut(text, 7, 1000), None);
    assert_eq!(pattern.safe_cut(b"", 0, 10), None);
    assert_eq!(Pattern::new(r"\w+").unwrap().safe_cut(text, 0, 13), None, "nothing is known of this one");
}

#[test]
fn ordinary_text_has_a_cut_within_a_sentence() {
    let texts = [
        "It's said that \"quoted\" text, like this, isn't hard.\n",
        "def f(self):\n\treturn self.x[i] + 1\n\n",
        "自然语言处理是人工智能的一个重要方向，它研究人与计算机。",
        "自然言語処理は、人工知能の一分野である。コンピュータに",
        "हिन्दी विश्व की एक प्रमुख भाषा है। ",
        "اللغة العربية هي أكثر اللغات تحدثاً، ",
        "ภาษาไทยเป็นภาษาที่มีระดับเสียง ",
    ];
    for named in Named::ALL {
        let pattern = Pattern::new(named.name()).unwrap();
        for text in texts {
            let long = text.repeat(20);
            for high in (200..long.len() - 100).step_by(7) {
                assert!(
                    pattern.safe_cut(long.as_bytes(), high - 100, high).is_some(),
                    "{} {text} {high}",
                    named.name()
                );
            }
        }
    }
}

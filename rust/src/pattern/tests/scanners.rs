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

use super::hash::tests::with_bits;
use super::*;

/// Numbers that look drawn, the same ones each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % count
    }

    /// Of few letters, so that n-grams come again and words joined otherwise are equal; short and long, so that some
    /// begin with the same sixteen bytes.
    fn word(&mut self) -> String {
        let letters = ["a", "b", "ab", "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbb", "é", "日", "."];
        (0..=self.below(3)).map(|_| letters[self.below(letters.len())]).collect()
    }

    fn text(&mut self) -> String {
        let words: Vec<String> = (0..=self.below(120)).map(|_| self.word()).collect();
        let again = &words[self.below(words.len())..];
        let ends = [" ", " ", " ", "\n", "\n\n"];
        words.iter().chain(again).flat_map(|word| [word.as_str(), ends[self.below(ends.len())]]).collect()
    }
}

fn rules() -> Rules {
    Rules::new(&preset("fineweb").unwrap()).unwrap()
}

/// As bits, so that what was not measured is equal too.
fn measured(rules: &Rules, text: &str, scratch: &mut Scratch) -> (Vec<u64>, Option<String>) {
    let mut out = Measures::default();
    let rewritten = rules.measure(text, "eng_Latn", scratch, &mut out);
    (out.values().iter().map(|value| value.to_bits()).collect(), rewritten)
}

#[test]
fn hashes_that_collide_change_no_measure() {
    let (rules, mut draw) = (rules(), Draw(1));
    for _ in 0..300 {
        let text = draw.text();
        let right = measured(&rules, &text, &mut Scratch::default());
        for bits in [0, 1, 0xff, 0xffff_ffff, 0xffff_ffff_0000_0000] {
            let weak = with_bits(bits, || measured(&rules, &text, &mut Scratch::default()));
            assert_eq!(weak, right, "{bits:x} {text}");
        }
    }
}

#[test]
fn texts_before_change_no_measure() {
    let (rules, mut draw, mut scratch) = (rules(), Draw(2), Scratch::default());
    let mut number = 0;
    for _ in 0..120 {
        // 240,000 words in all, half of them longer than sixteen bytes: what was met is forgotten on the way
        let mut text = draw.text();
        for _ in 0..2000 {
            number += 1;
            let (name, begun) = (number.to_string(), ["v", "a_rather_long_word_"][number % 2]);
            text.extend(["w", &name, " ", begun, &name, " "]);
        }
        assert_eq!(measured(&rules, &text, &mut scratch), measured(&rules, &text, &mut Scratch::default()));
    }
}

use super::*;

fn mended(text: &str) -> String {
    let mut out = String::new();
    repair(text, &Repairs::default(), &mut out);
    out
}

#[test]
fn each_repair_does_its_own() {
    for (text, expected) in [
        ("a\r\nb\rc\u{c}d\u{85}e\u{2028}f", "a\nb\nc\nd…e\nf"), // 85 is an ellipsis where it was misread
        ("\u{1b}[1;31mred\u{1b}[0m\0\u{7f}\u{1b}[", "red["),
        ("a \t\n\n\n\n\nb\u{a0}c  \n", "a\n\n\nb c\n"),
        ("\t  def f():\u{a0}\n", "\t  def f():\n"),
        ("日本\u{3000}語\u{3000}\na\u{3000}b", "日本\u{3000}語\na b"),
        ("schÃ¶n\nschön", "schön\nschön"),
        ("e\u{301}a\u{323}\u{302}q\u{323}\u{307} \u{1112}\u{1161}\u{11ab}", "éậq\u{323}\u{307} 한"),
        ("so\u{ad}ft\u{200b}\u{feff}\u{2060}x", "softx"),
        ("می\u{200c}روم क्\u{200d}ष a\u{200d}b", "می\u{200c}روم क्\u{200d}ष ab"),
        ("می\u{200c}\u{200c}روم", "می\u{200c}روم"),
        ("👩\u{200d}💻 🏴\u{e0067}\u{e007f} x\u{e0041}", "👩\u{200d}💻 🏴\u{e0067}\u{e007f} x"),
        ("\u{200f}שלום\u{200e} abc\nabc\u{202e}", "\u{200f}שלום\u{200e} abc\nabc"),
        ("ខ្មែរ\u{200b}ខ្មែរ", "ខ្មែរ\u{200b}ខ្មែរ"),
        ("", ""),
    ] {
        assert_eq!(mended(text), expected, "{text:?}");
        assert_eq!(mended(expected), expected, "{expected:?} a second time");
    }
}

#[test]
fn what_is_off_is_left() {
    let text = "a \r\ne\u{301}\u{ad} schÃ¶n\u{3000}日";
    let mut out = String::new();
    assert!(!repair(text, &Repairs::NONE, &mut out).any());
    assert_eq!(out, text);
    let wide = Repairs { whitespace: true, wide_blanks: true, ..Repairs::NONE };
    assert_eq!(repair("日\u{3000}本 ", &wide, &mut out).whitespace, 2);
    assert_eq!(out, "日 本");
}

#[test]
fn counts_say_what_was_done() {
    let mut out = String::new();
    let counts = repair("schÃ¶n\r\na\0 \ne\u{301}\u{ad}\n", &Repairs::default(), &mut out);
    let expected = Counts { mojibake: 1, controls: 1, line_ends: 1, invisible: 1, whitespace: 1, nfc: 1 };
    assert_eq!((out.as_str(), counts), ("schön\na\né\n", expected));
}

#[test]
fn hostile_texts_take_linear_time() {
    for piece in ["Ã", "Ã©", "ÃƒÂ©", "\u{301}", "â€", "\u{200d}", "\r", " \n", "\u{1b}[1", "ðŸ˜", "Ð°", "\u{80}"]
    {
        let text = piece.repeat(400_000 / piece.len());
        let before = std::time::Instant::now();
        mended(&text);
        assert!(before.elapsed().as_secs() < 10, "{piece:?}");
    }
}

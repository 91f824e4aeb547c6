use super::*;

fn spelled(pattern: &str) -> String {
    portable(pattern).map_or_else(|error| format!("refused: {error}"), |portable| portable.regex)
}

#[test]
fn what_both_read_alike_is_left_as_it_is() {
    for named in Named::ALL {
        let regex = named.portable_regex();
        let mut reader = Reader { pattern: regex, at: 0, depth: 0, parts: Vec::new() };
        assert_eq!(reader.alternatives(Flags::default(), false).unwrap().0, regex, "{}", named.name());
        assert_eq!(reader.parts, [""; 0]);
    }
    for regex in [
        r"\p{L}+|\s+(?!\S)|\d{1,3}",
        r"[^\r\n\p{L}\p{N}]?+\p{L}++",
        r"(?<=a)b|(?<![\s\p{P}])x{2}",
        r"[!-\-\]]|[a\-b-]",
        r"(a|b(?:c|d))*?",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r"(?i:[sdmt]|ll|ve|re)|'",
        r"\x{200C}|\x41|\.\/\-",
        r"(?>ab|a)",
    ] {
        assert_eq!(portable(regex).unwrap(), Portable { regex: regex.to_owned(), parts: vec![] });
    }
}

#[test]
fn what_they_read_in_two_ways_is_spelled_out_once_and_for_all() {
    let word = format!("[{WORD}]");
    for (pattern, wanted) in [
        (r"\w+", format!("{word}+")),
        (r"[\w']", format!("[{WORD}']")),
        (r"[^\W_]", format!("[^[^{WORD}]_]")),
        ("^a$", r"\Aa\z".into()),
        ("(?m)^a$", r"(?:\A|(?<=\n))a(?=\n|\z)".into()),
        ("(?s).{1,7}", r"[\s\S]{1,7}".into()),
        (r"\pL+\PN", r"\p{L}+\P{N}".into()),
        ("[[:alpha:]_]", "[A-Za-z_]".into()),
        (r"\xe9\u00e9", r"\x{E9}\x{E9}".into()),
        (r"\p{N}{1,3}+", r"(?>\p{N}{1,3})".into()),
        ("(?i)k", r"[Kk\x{212A}]".into()),
        ("(?i:st)", r"(?:[Ss\x{17F}][Tt])".into()),
        ("(?<name>a)b", "(?:a)b".into()),
        (r"[a-z&&[^m]]", "[a-ln-z]".into()),
        ("a{2}?", "a{2}".into()),
        (r"[a-c-e\w]", format!(r"[a-c\-e{WORD}]")),
    ] {
        assert_eq!(spelled(pattern), wanted, "{pattern}");
        assert_eq!(portable(&wanted).unwrap(), Portable { regex: wanted.clone(), parts: vec![] });
    }
    assert_eq!(portable(r"\w+|^|\w").unwrap().parts, [r"\w", "^"]);
    assert_eq!(portable(Named::Cl100k.regex()).unwrap().regex, Named::Cl100k.portable_regex());
}

#[test]
fn what_cannot_be_spelled_is_refused_by_name() {
    for (pattern, part) in [
        (r"(a*)*\1b", "*"),
        (r"(a)\1", r"\1"),
        (r"\X", r"\X"),
        ("(?x)a b", "(?x"),
        (r"\Ka", r"\K"),
        (r"\b{start}a", r"\b"),
        ("(?<=a+)b", "+"),
        ("a{1,2}{3}", "{1,2}"),
        (r"\<a", r"\<"),
        ("(?=a)*", "*"),
    ] {
        let error = portable(pattern).expect_err(pattern);
        assert!(error.message.starts_with(&format!("the pattern's {part}")), "{pattern}: {error}");
    }
    assert!(portable(&"(".repeat(5000)).is_err());
    assert!(portable(&format!("{}a{}", "[".repeat(5000), "]".repeat(5000))).is_err());
}

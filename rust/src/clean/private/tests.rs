use super::*;

fn found(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    find(text, &mut found);
    found.into_iter().map(|address| &text[address.span]).collect()
}

#[test]
fn addresses_are_found_where_they_stand() {
    assert_eq!(found("write to a.b@c.org, or #x@y.z."), ["a.b@c.org", "x@y.z"]);
    assert_eq!(found("a@[1.2.3.4] b@[1.2.3.x-y:] c@[1.2.3.x-:]"), ["a@[1.2.3.4]", "b@[1.2.3.x-y:]"]);
    assert_eq!(found("8.8.8.8 192.168.0.1 8.8.8.300 1234.5.6.7"), ["8.8.8.8", "8.8.8.30", "234.5.6.7"]);
    assert_eq!(found("..a@b.c a..b@c.d a.@b.c é@b.c éa@b.c"), ["a@b.c", "b@c.d"]);
}

#[test]
fn a_masked_text_stays_as_it_is() {
    let text = "a@b.org wrote from 8.8.4.4, c@d.com from 8.8.8.8";
    let (mut found, mut once, mut twice) = (Vec::new(), String::new(), String::new());
    find(text, &mut found);
    assert_eq!(Counts::of(&found), Counts { mail: 2, ip: 2 });
    mask(text, &found, &mut once);
    find(&once, &mut found);
    mask(&once, &found, &mut twice);
    assert_eq!((&once, found.len()), (&twice, 0));
    assert!(!once.contains("a@b.org") && !once.contains("8.8."));
}

#[test]
fn spans_are_in_code_points() {
    let text = "é a@b.org ü 8.8.8.8";
    let mut found = Vec::new();
    find(text, &mut found);
    assert_eq!(in_code_points(text, &found), [(2, 9, Kind::Mail), (12, 19, Kind::Ipv4)]);
}

#[test]
fn hostile_texts_take_linear_time() {
    for piece in ["@", "a@", "1.", "1.1.1.", "a.", "a@b.", "a@-", "9", "a@[1.1.1.a"] {
        let text = piece.repeat(2_000_000 / piece.len());
        let before = std::time::Instant::now();
        found(&text);
        assert!(before.elapsed().as_secs() < 5, "{piece}");
    }
}

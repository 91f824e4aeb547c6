//! The scanners against the reference regexes, on text made to be hostile.

mod cuts;
mod scanners;
mod texts;

use super::Pattern;

/// The ends of all pre-tokens, and the number of batches it took.
fn ends_of(pattern: &Pattern, text: &[u8]) -> (Vec<usize>, usize) {
    let (mut all, mut batch, mut start, mut batches) = (Vec::new(), Vec::new(), 0, 0);
    while start < text.len() {
        let next = pattern.scan(text, start, &mut batch).unwrap();
        all.extend(batch.iter().map(|end| start + *end as usize));
        assert_eq!(all.last(), Some(&next), "the next batch starts where this one ends");
        start = next;
        batches += 1;
    }
    (all, batches)
}

fn show(text: &[u8], ends: &[usize]) -> String {
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let pieces: Vec<String> =
        starts.zip(ends).map(|(start, end)| text[start..*end].escape_ascii().to_string()).collect();
    pieces.join(" | ")
}

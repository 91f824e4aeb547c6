//! Halves of pairs of surrogates, which JSON can spell and which are no characters.

/// A line whose lone surrogates are U+FFFD, and the bytes of their escapes; None where it has none.
pub(super) fn whole_surrogates(line: &[u8]) -> Option<(Vec<u8>, u64)> {
    let unit = |at: usize| -> Option<u16> {
        let escape = line.get(at..at + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
    };
    let (mut mended, mut count, mut at) = (Vec::with_capacity(line.len()), 0, 0);
    while at < line.len() {
        let length = match (line[at], unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                mended.extend_from_slice(b"\\ufffd");
                count += 6;
                at += 6;
                continue;
            }
            (b'\\', Some(_)) => 6,
            (b'\\', None) => 2,
            _ => 1,
        };
        mended.extend_from_slice(&line[at..(at + length).min(line.len())]);
        at += length;
    }
    (count > 0).then_some((mended, count))
}

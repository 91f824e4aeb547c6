//! A text whose every run of white space is one space, with none at its ends: what is the same so is a copy.

use crate::clean::words::space_length;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// Fills `normal`; eight bytes at a time where they are ASCII with single spaces.
pub(super) fn normalise(text: &str, normal: &mut Vec<u8>) {
    normal.clear();
    normal.reserve(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if let Some(block) = bytes[at..].first_chunk::<8>().filter(|block| is_normal(**block, ends(normal))) {
            normal.extend_from_slice(block);
            at += 8;
            continue;
        }
        let until = bytes.len().min(at + 8);
        while at < until {
            let length = space_length(bytes, at);
            if length == 0 {
                normal.push(bytes[at]);
            } else if !ends(normal) {
                normal.push(b' ');
            }
            at += length.max(1);
        }
    }
    if normal.last() == Some(&b' ') {
        normal.pop();
    }
}

/// Whether nothing, or a space, stands before what comes next.
fn ends(normal: &[u8]) -> bool {
    normal.last().is_none_or(|last| *last == b' ')
}

fn is_normal(block: [u8; 8], is_after_space: bool) -> bool {
    let block = u64::from_le_bytes(block);
    let controls = !((block & !HIGH) + ONES * 0x60);
    let differ = block ^ (ONES * 0x20);
    let spaces = !(((differ & !HIGH) + ONES * 0x7f) | differ) & HIGH;
    let doubled = spaces & (spaces << 8 | u64::from(is_after_space) << 7);
    (controls | block) & HIGH == 0 && doubled == 0
}

//! Where a block ends that is cut off a text.

use super::raw::BLOCK_BYTES;
use super::{SafeCut, Separator};

/// How far a document's end is sought before the document itself is cut.
const SEARCH: usize = 4 * BLOCK_BYTES;

/// How much is to be there before another place is sought, where `wanted` was too little.
pub(super) fn wait_for(wanted: usize) -> usize {
    (wanted * 2).max(SEARCH + BLOCK_BYTES / 4)
}

/// Where to cut the next block off `window`, and whether that is within a document: a block is whole documents, or one
/// part of one. None where more text is needed first.
pub(super) fn cut(
    window: &[u8],
    complete: bool,
    open: bool,
    separator: &Separator,
    safe_cut: Option<&SafeCut>,
) -> Option<(usize, bool)> {
    if complete && window.len() <= BLOCK_BYTES + BLOCK_BYTES / 4 {
        return Some((window.len(), open));
    }
    if window.len() < BLOCK_BYTES {
        return None;
    }
    // a span that ends within a document holds no separator: the plan cut it so
    let separator = if open { &Separator::File } else { separator };
    if let Some(found) = separator.last(&window[..BLOCK_BYTES]) {
        return Some((found.next, false));
    }
    let from = separator.tail(&window[..BLOCK_BYTES]);
    let search = window.len().min(SEARCH);
    if let Some(found) = separator.first(&window[..search], from, complete && search == window.len()) {
        return Some((found.next, false));
    }
    if window.len() < SEARCH && !complete {
        return None;
    }
    // a separator may begin here, and a document is not cut within one
    let tail = from + separator.tail(&window[from..search]);
    if let Some(safe_cut) = safe_cut {
        let mut low = BLOCK_BYTES / 2;
        while low < search {
            let high = (low * 2).min(search);
            if let Some(cut) = safe_cut(window, low, high.min(tail)) {
                if cut < window.len() {
                    return Some((cut, true));
                }
            }
            low = high;
        }
    }
    if let Some(found) = separator.first(window, tail, complete) {
        return Some((found.next, false));
    }
    complete.then_some((window.len(), open))
}

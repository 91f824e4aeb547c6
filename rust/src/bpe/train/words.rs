//! Counted pre-tokens become the words of the merge phase.

use std::collections::HashMap;

use super::shard::{Layout, Shard, Symbol};
use super::table::Table;
use crate::error::{Error, Result};

/// Something that knows every distinct pre-token, and can tell them more than once.
pub(super) trait Words {
    /// Calls `visit` with bytes, hash and count of each, the same ones in the same order every time.
    fn each(&self, visit: &mut dyn FnMut(&[u8], u64, u64));
}

impl Words for Table {
    fn each(&self, visit: &mut dyn FnMut(&[u8], u64, u64)) {
        Table::each(self, visit);
    }
}

/// Which of `shards` shards a hash belongs to.
fn shard_of(hash: u64, shards: usize) -> usize {
    ((u128::from(hash) * shards as u128) >> 64) as usize
}

/// Lays the words out in shards, by falling count. `ids` is the number of ids there will be.
pub(super) fn lay_out<S: Symbol>(words: &dyn Words, shards: usize, ids: u32) -> Result<Vec<Shard<S>>> {
    let mut slots: Vec<HashMap<u64, u64>> = vec![HashMap::new(); shards];
    words.each(&mut |bytes, hash, count| {
        // a single byte has no pair
        if bytes.len() > 1 {
            *slots[shard_of(hash, shards)].entry(count).or_default() += bytes.len() as u64 + 1;
        }
    });
    for slots in &slots {
        let total: u64 = 1 + slots.values().sum::<u64>();
        if total >= u64::from(u32::MAX) {
            return Err(Error::tokenizer(format!(
                "the distinct pre-tokens take {total} symbols, and one thread can merge 4 billion"
            ))
            .hint("use more threads, or train on a part of the text: --bytes or --documents"));
        }
    }
    let mut built = Vec::new();
    let mut cursors: Vec<HashMap<u64, u32>> = Vec::new();
    for slots in slots {
        let mut runs: Vec<(u64, u64)> = slots.into_iter().collect();
        runs.sort_unstable_by_key(|&(count, _)| std::cmp::Reverse(count));
        let mut start = 1;
        cursors.push(
            runs.iter()
                .map(|&(count, slots)| {
                    let cursor = start;
                    start += slots as u32;
                    (count, cursor)
                })
                .collect(),
        );
        built.push(Shard::new(&Layout { runs }, ids));
    }
    words.each(&mut |bytes, hash, count| {
        if bytes.len() > 1 {
            let shard = shard_of(hash, shards);
            let cursor = cursors[shard].get_mut(&count).expect("a count seen before");
            *cursor = built[shard].put(*cursor, bytes);
        }
    });
    Ok(built)
}

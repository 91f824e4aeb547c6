//! Merging many short pieces at once. Each merge asks a table that does not fit the second-level cache for ranks, and a
//! look-up that has to come from memory takes as long as a hundred of a merge's own instructions: while one piece's is
//! on its way, the others go on.

use super::merge::FEW;
use super::model::Model;

const NONE: u32 = u32::MAX;
/// Pieces on their way together: their states are 3 KB, their look-ups twice as many lines as a core fetches at once.
const TOGETHER: usize = 16;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Job {
    /// Rank and place of each merge that a part and its right neighbour could make, so that the least is the leftmost
    /// of the lowest.
    keys: [u32; FEW],
    tokens: [u32; FEW],
    /// A bit for each part that is left.
    left: u32,
    /// The part that the last merge made, and the parts beside it: `NONE` where there is none.
    made: u32,
    before: u32,
    after: u32,
    number: u32,
}

/// Encodes pieces, given as keys with numbers, and calls `done` with the number of each, in any order, and its inner
/// tokens.
#[inline(always)]
pub fn merge_all(model: &Model, keys: &[(u128, u32)], mut done: impl FnMut(u32, &[u32])) {
    let mut keys = keys.iter();
    let mut jobs: [Job; TOGETHER] = [EMPTY; TOGETHER];
    let mut count = 0;
    while let Some(&(key, number)) = (count < TOGETHER).then(|| keys.next()).flatten() {
        jobs[count] = Job::new(model, key, number);
        count += 1;
    }
    while count > 0 {
        let mut at = 0;
        while at < count {
            let job = &mut jobs[at];
            if job.step(model) {
                at += 1;
                continue;
            }
            let (mut tokens, mut size) = ([0; FEW], 0);
            while job.left != 0 {
                tokens[size] = job.tokens[job.left.trailing_zeros() as usize % FEW];
                size += 1;
                job.left &= job.left - 1;
            }
            done(job.number, &tokens[..size]);
            if let Some(&(key, number)) = keys.next() {
                jobs[at] = Job::new(model, key, number);
                at += 1;
            } else {
                count -= 1;
                jobs[at] = jobs[count];
            }
        }
    }
}

const EMPTY: Job = Job { keys: [NONE; FEW], tokens: [0; FEW], left: 0, made: 0, before: NONE, after: NONE, number: 0 };

#[inline(always)]
fn key(rank: Option<u32>, at: usize) -> u32 {
    rank.map_or(NONE, |rank| rank << 4 | at as u32)
}

impl Job {
    #[inline(always)]
    fn new(model: &Model, piece: u128, number: u32) -> Self {
        let size = (piece >> 120) as usize;
        let bytes = piece.to_le_bytes();
        let mut job = Self { number, left: (1 << size) - 1, ..EMPTY };
        job.tokens = bytes.map(u32::from);
        for (at, (pair, key)) in bytes[..size].windows(2).zip(&mut job.keys).enumerate() {
            let rank = model.byte_pairs[usize::from(pair[0]) << 8 | usize::from(pair[1])];
            *key = if rank == NONE { NONE } else { rank << 4 | at as u32 };
        }
        job
    }

    /// One merge; false where none is left. The ranks beside what it makes are fetched, and read by the next step.
    #[inline(always)]
    fn step(&mut self, model: &Model) -> bool {
        let token = |place: u32| self.tokens[place as usize % FEW];
        if self.after != NONE {
            let rank = model.pairs.get(token(self.made), token(self.after));
            self.keys[self.made as usize % FEW] = key(rank, self.made as usize);
        }
        if self.before != NONE {
            let rank = model.pairs.get(token(self.before), token(self.made));
            self.keys[self.before as usize % FEW] = key(rank, self.before as usize);
        }
        let mut least = NONE;
        for &key in &self.keys {
            least = least.min(key);
        }
        if least == NONE {
            return false;
        }
        let at = least % FEW as u32;
        let rank = least >> 4;
        let after = self.left & !((2_u32 << at) - 1);
        let next = after.trailing_zeros();
        let after = after & (after - 1);
        let before = self.left & ((1 << at) - 1);
        let made = model.result(rank);
        self.left &= !(1 << next);
        self.tokens[at as usize] = made;
        self.keys[next as usize % FEW] = NONE;
        self.keys[at as usize] = NONE;
        self.made = at;
        self.after = NONE;
        self.before = NONE;
        if after != 0 {
            self.after = after.trailing_zeros();
            model.pairs.prefetch(made, self.tokens[self.after as usize % FEW]);
        }
        if before != 0 {
            self.before = before.ilog2();
            model.pairs.prefetch(self.tokens[self.before as usize % FEW], made);
        }
        true
    }
}

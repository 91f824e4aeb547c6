//! Segments whose cache lines are being fetched: all are asked for before the first is looked at.

/// Segments whose cache lines are on their way before the first of them is looked at.
const AHEAD: usize = 64;
/// The home of a character that stands alone; its code is in the place of the key.
pub const CHARACTER: u32 = u32::MAX;

/// Segments that are being fetched.
pub struct Ring {
    keys: [u128; AHEAD],
    homes: [u32; AHEAD],
    count: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { keys: [0; AHEAD], homes: [0; AHEAD], count: 0 }
    }
}

impl Ring {
    #[inline(always)]
    pub fn push(&mut self, key: u128, home: u32) {
        self.keys[self.count % AHEAD] = key;
        self.homes[self.count % AHEAD] = home;
        self.count += 1;
    }

    /// Whether the next one needs a flush first.
    #[inline(always)]
    pub fn is_full(&self) -> bool {
        self.count == AHEAD
    }

    #[inline(always)]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Key and home of a segment, or code and [`CHARACTER`].
    #[inline(always)]
    pub fn get(&self, at: usize) -> (u128, u32) {
        (self.keys[at % AHEAD], self.homes[at % AHEAD])
    }

    #[inline(always)]
    pub fn clear(&mut self) {
        self.count = 0;
    }
}

//! The numbers that `numpy.random.RandomState(seed)` draws: MT19937, and integers from it by masking and refusing.

const N: usize = 624;
const M: usize = 397;

pub(super) struct RandomState {
    state: [u32; N],
    at: usize,
}

impl RandomState {
    pub fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
        }
        Self { state, at: N }
    }

    fn twist(&mut self) {
        for i in 0..N {
            let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let matrix = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (mixed >> 1) ^ matrix;
        }
        self.at = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.at == N {
            self.twist();
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// What `randint(low, high, dtype=numpy.uint64)` returns, for ranges of more than 32 bits.
    pub fn below(&mut self, low: u64, high: u64) -> u64 {
        let most = high - 1 - low;
        let mask = u64::MAX >> most.leading_zeros();
        loop {
            let drawn = u64::from(self.next_u32()) << 32 | u64::from(self.next_u32());
            if drawn & mask <= most {
                return low + (drawn & mask);
            }
        }
    }
}

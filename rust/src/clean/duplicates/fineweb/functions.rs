//! The 112 functions of a signature, and the least that each makes of a text's shingles.

use super::mersenne::RandomState;

pub const BUCKETS: usize = 14;
pub const ROWS: usize = 8;
const FUNCTIONS: usize = BUCKETS * ROWS;
const PRIME: u64 = (1 << 61) - 1;
/// Functions whose least values stay in registers while all shingles go by: two registers of AVX-512, four of AVX2.
const TOGETHER: usize = 16;

pub type Numbers = [u64; FUNCTIONS];

/// The factors and summands of the functions.
pub fn parameters() -> (Numbers, Numbers) {
    let mut drawn = RandomState::new(1);
    let factors = std::array::from_fn(|_| drawn.below(1, PRIME));
    (factors, std::array::from_fn(|_| drawn.below(0, PRIME)))
}

/// What the processor has for products of 64 bits, side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variant {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Variant {
    /// All that run here, the best last.
    fn available() -> Vec<Self> {
        let mut variants = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            variants.push(Self::Avx2);
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                variants.push(Self::Avx512);
            }
        }
        variants
    }
}

pub struct Functions {
    factors: Numbers,
    summands: Numbers,
    variant: Variant,
}

impl Functions {
    pub fn new() -> Self {
        let (factors, summands) = parameters();
        let variant = Variant::available().pop().unwrap_or(Variant::Scalar);
        Self { factors, summands, variant }
    }

    /// Fills `signature` with each function's least value of the shingles.
    pub fn least(&self, shingles: &[u64], signature: &mut Numbers) {
        match self.variant {
            Variant::Scalar => self.of_all(shingles, signature),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the processor was asked before there was a variant of this name.
            Variant::Avx2 => unsafe { self.on_avx2(shingles, signature) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the same.
            Variant::Avx512 => unsafe { self.on_avx512(shingles, signature) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn on_avx2(&self, shingles: &[u64], signature: &mut Numbers) {
        self.of_all(shingles, signature);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,avx512f,avx512dq")]
    fn on_avx512(&self, shingles: &[u64], signature: &mut Numbers) {
        self.of_all(shingles, signature);
    }

    #[inline(always)]
    fn of_all(&self, shingles: &[u64], signature: &mut Numbers) {
        let parts = self.factors.as_chunks::<TOGETHER>().0.iter().zip(self.summands.as_chunks().0);
        for (least, (factors, summands)) in signature.as_chunks_mut().0.iter_mut().zip(parts) {
            *least = of_some(shingles, factors, summands);
        }
    }
}

/// x·a + b modulo 2^61 - 1, of a sum that wraps at 2^64. Signed, since AVX2 compares no other numbers.
#[inline(always)]
fn of_some(shingles: &[u64], factors: &[u64; TOGETHER], summands: &[u64; TOGETHER]) -> [u64; TOGETHER] {
    let mut least = [i64::MAX; TOGETHER];
    for shingle in shingles {
        for ((least, factor), summand) in least.iter_mut().zip(factors).zip(summands) {
            let sum = shingle.wrapping_mul(*factor).wrapping_add(*summand);
            // at most 7 beyond the prime
            let beyond = ((sum & PRIME) + (sum >> 61)) as i64 - PRIME as i64;
            let value = if beyond < 0 { beyond + PRIME as i64 } else { beyond };
            *least = (*least).min(value);
        }
    }
    least.map(|number| number as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_computes_what_arithmetic_says() {
        let mut functions = Functions::new();
        let mut draw = RandomState::new(7);
        let edges = [0, 1, PRIME - 1, PRIME, PRIME + 1, 1 << 61, u64::MAX - 1, u64::MAX];
        for count in [1, 2, 3, 8, 100] {
            let shingles: Vec<u64> =
                (0..count).map(|at| *edges.get(at + count % 8).unwrap_or(&draw.below(0, u64::MAX))).collect();
            let expected: Numbers = std::array::from_fn(|at| {
                let value =
                    |x: &u64| x.wrapping_mul(functions.factors[at]).wrapping_add(functions.summands[at]) % PRIME;
                shingles.iter().map(value).min().expect("a shingle")
            });
            for variant in Variant::available() {
                functions.variant = variant;
                let mut found = [0; FUNCTIONS];
                functions.least(&shingles, &mut found);
                assert_eq!(found, expected, "{variant:?}, {count}");
            }
        }
        // sums just around multiples of the prime
        (functions.factors, functions.summands) = ([1; FUNCTIONS], [0; FUNCTIONS]);
        for multiple in 0..=8u64 {
            for off in [-1i64, 0, 1] {
                let sum = multiple.wrapping_mul(PRIME).wrapping_add_signed(off);
                for variant in Variant::available() {
                    functions.variant = variant;
                    let mut found = [0; FUNCTIONS];
                    functions.least(&[sum], &mut found);
                    assert_eq!(found, [sum % PRIME; FUNCTIONS], "{variant:?}, {sum}");
                }
            }
        }
    }
}

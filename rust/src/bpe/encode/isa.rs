//! The instruction sets that encoding is compiled for, and the one question which of them the processor has.

#[cfg(target_arch = "x86_64")]
use crate::pattern::Variant;

/// A set of instructions. A value of it is the proof that the processor has them.
pub trait Isa: Copy {
    /// Runs `work` in a function of its own that is compiled for the set: so the loop stays small, and what it calls
    /// seldom has the same instructions.
    fn run<W: Work>(self, work: W) -> W::Output;
}

/// What a set of instructions is wanted for. No closure: whether one is compiled for the set of its caller is for the
/// compiler to decide, and [`Work::run`] is `#[inline(always)]` wherever it is written.
pub trait Work {
    type Output;
    fn run(self) -> Self::Output;
}

/// What every processor of the target has.
#[derive(Clone, Copy)]
pub struct Baseline;

impl Isa for Baseline {
    #[inline(never)]
    fn run<W: Work>(self, work: W) -> W::Output {
        work.run()
    }
}

/// Wide vectors and the bit instructions that came with them.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    /// None where the processor lacks one of them.
    pub fn here() -> Option<Self> {
        // every variant but the scalar one asks for all that `with_avx2` names
        (Variant::best() != Variant::Scalar).then_some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Isa for Avx2 {
    #[inline(always)]
    fn run<W: Work>(self, work: W) -> W::Output {
        // SAFETY: the processor was asked before there was a value of this type
        unsafe { with_avx2(work) }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
#[inline(never)]
fn with_avx2<W: Work>(work: W) -> W::Output {
    work.run()
}

//! Loops in the widest vector instructions of the processor that they run on.

use pulp::Arch;

/// Runs `work` compiled for what this processor has, such as AVX2 or AVX-512, where a program for every processor of
/// its kind would have to do with the least. Only what is inlined into `work` gains. Rust neither reorders sums nor
/// fuses products into them by itself, so that the bits are the same everywhere.
#[inline(always)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(
        #[inline(always)]
        || work(),
    )
}

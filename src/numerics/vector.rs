//! Loops in the widest vector instructions of the processor that they run on.

use std::{convert::identity, sync::LazyLock};

use pulp::Arch;

/// What this processor has. To ask it takes microseconds on a virtual machine, and so it is asked once.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs `work` compiled for what this processor has, such as AVX2 or AVX-512, where a program for every processor of
/// its kind would have to do with the least. Only what is inlined into `work` gains. Rust neither reorders sums nor
/// fuses products into them by itself, so that the bits are the same everywhere.
#[inline(always)]
pub(crate) fn widest<R>(work: impl FnOnce() -> R) -> R {
    ARCH.dispatch(work)
}

/// How many numbers are taken at once: as many as the widest vectors hold. Sums depend on it, and so it is the same on
/// every processor.
pub(crate) const LANES: usize = 16;

/// Joins what `of` makes of every number, in [`LANES`] lanes and then the lanes.
#[inline(always)]
pub(crate) fn fold(x: &[f32], first: f32, of: impl Fn(f32) -> f32, join: impl Fn(f32, f32) -> f32) -> f32 {
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut lanes = [first; LANES];
    for values in whole {
        for (lane, &value) in lanes.iter_mut().zip(values) {
            *lane = join(*lane, of(value));
        }
    }
    let joined = lanes.into_iter().fold(first, &join);
    rest.iter().fold(joined, |joined, &value| join(joined, of(value)))
}

/// `max` of what is not NaN, of which the processor has an instruction.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// `min` of what is not NaN.
#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

/// The largest number, or minus infinity where there is none.
#[inline(always)]
pub(crate) fn largest(x: &[f32]) -> f32 {
    fold(x, f32::NEG_INFINITY, identity, larger)
}

/// `e^x` to about 2e-7 relative, without a branch or a call, so that loops over it become vector instructions.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    // ln 2 in two parts, of which the first has so few bits that the product is exact.
    let rest = x - power * 0.693_359_4 + power * 2.121_944_4e-4;
    let series = (((((rest * (1.0 / 720.0) + 1.0 / 120.0) * rest + 1.0 / 24.0) * rest + 1.0 / 6.0) * rest
        + 0.5)
        * rest
        + 1.0)
        * rest
        + 1.0;
    series * f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_exact_to_the_last_bits() {
        for x in (-40_000..=40_000).map(|step| step as f32 / 2_000.0).chain([-87.0, 88.0]) {
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() < 4e-7 * exact, "{x}: {} {exact}", exp(x));
        }
        assert!(exp(-1e9) < 1e-37 && exp(1e9) > 1e38 && exp(0.0) == 1.0);
    }

    #[test]
    fn a_fold_takes_every_number_once() {
        for count in [0, 1, 15, 16, 17, 40] {
            let x: Vec<f32> = (1..=count).map(|at| at as f32).collect();
            assert_eq!(fold(&x, 0.0, |x| 2.0 * x, |a, b| a + b), (count * (count + 1)) as f32);
            assert_eq!(largest(&x), if count == 0 { f32::NEG_INFINITY } else { count as f32 });
        }
    }
}

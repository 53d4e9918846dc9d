use std::ops::Range;

use super::slots::Lanes;
use crate::numerics::vector::{LANES, larger, smaller, widest};

/// The places of the increasing `alphas` at which `zero_shot + alpha cached`, in whole lanes, is largest at `label`.
/// Of classes with the same logit the first one counts, as in `argmax`.
pub(super) fn wins(alphas: &[f32], zero_shot: &[f32], cached: &[f32], label: usize) -> Range<usize> {
    let line = (zero_shot[label], cached[label]);
    let ((above, below), (from, to)) = widest(
        #[inline(always)]
        || bounds(line, zero_shot, cached, label),
    );
    let start = alphas.partition_point(|&alpha| if above >= from { alpha <= above } else { alpha < from });
    let end = alphas.partition_point(|&alpha| if below <= to { alpha < below } else { alpha <= to });
    start..end.max(start)
}

/// Between which values of `alpha` a line is over those before it, and over those behind it.
#[inline(always)]
fn bounds(line: (f32, f32), zero_shot: &[f32], cached: &[f32], label: usize) -> ((f32, f32), (f32, f32)) {
    let mut before = Bounds::new(line, f32::INFINITY);
    let mut behind = Bounds::new(line, f32::NEG_INFINITY);
    let groups = zero_shot.as_chunks::<LANES>().0.iter().zip(cached.as_chunks::<LANES>().0);
    for (first, (zero_shot, cached)) in (0..).step_by(LANES).zip(groups) {
        if first < label {
            before.narrow(zero_shot, cached, 0..(label - first) as u32);
        }
        if label + 1 < first + LANES {
            behind.narrow(zero_shot, cached, (label + 1).saturating_sub(first) as u32..LANES as u32);
        }
    }
    (before.tightest(), behind.tightest())
}

/// Between which values of `alpha` one line `z + alpha c` is over others.
struct Bounds {
    line: (f32, f32),
    /// The lower bound where another line is the same: none, or one that nothing is above.
    same: f32,
    lower: Lanes,
    upper: Lanes,
}

impl Bounds {
    #[inline(always)]
    fn new(line: (f32, f32), same: f32) -> Self {
        Self { line, same, lower: [f32::NEG_INFINITY; LANES], upper: [f32::INFINITY; LANES] }
    }

    /// Takes the lines of the classes in some of the lanes.
    #[inline(always)]
    fn narrow(&mut self, zero_shot: &Lanes, cached: &Lanes, lanes: Range<u32>) {
        for lane in 0..LANES {
            let (lead, slope) = (self.line.0 - zero_shot[lane], self.line.1 - cached[lane]);
            // Parallel lines cross at an infinite `alpha`, of the sign that makes it the bound it should be.
            let crossing = if lead == 0.0 && slope == 0.0 { self.same } else { -lead / slope };
            let taken = lanes.contains(&(lane as u32));
            let low = if slope >= 0.0 && taken { crossing } else { f32::NEG_INFINITY };
            let high = if slope >= 0.0 || !taken { f32::INFINITY } else { crossing };
            self.lower[lane] = larger(low, self.lower[lane]);
            self.upper[lane] = smaller(high, self.upper[lane]);
        }
    }

    #[inline(always)]
    fn tightest(&self) -> (f32, f32) {
        let (mut lower, mut upper) = (self.lower, self.upper);
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                lower[lane] = larger(lower[lane], lower[lane + half]);
                upper[lane] = smaller(upper[lane], upper[lane + half]);
            }
            half /= 2;
        }
        (lower[0], upper[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numerics::argmax;

    /// Three lines with all slopes and heights of 0 to 2, far above 29 others: many of them tie.
    #[test]
    fn ties_go_to_the_first_class() {
        let alphas = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0];
        let places = [3, 9, 17]; // of the same lanes and of others, before and behind
        for case in 0..3_usize.pow(6) {
            let digit = |at: u32| (case / 3_usize.pow(at) % 3) as f32;
            let (mut zero_shot, mut cached) = ([-9.0; 2 * LANES], [0.0; 2 * LANES]);
            for (at, place) in (0..).zip(places) {
                (zero_shot[place], cached[place]) = (digit(at), digit(at + 3));
            }
            for label in places {
                let wins = wins(&alphas, &zero_shot, &cached, label);
                for (at, alpha) in alphas.iter().enumerate() {
                    let logits: Vec<f32> = (0..2 * LANES).map(|c| zero_shot[c] + alpha * cached[c]).collect();
                    assert_eq!(wins.contains(&at), argmax(&logits) == label, "{logits:?}, {label}");
                }
            }
        }
    }
}

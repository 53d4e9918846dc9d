use std::ops::Range;

use super::slots::{LANES, Lanes};

/// The places of the increasing `alphas` at which `zero_shot + alpha cached` is largest at `label`. Of classes with
/// the same logit the first one counts, as in `argmax`.
pub(super) fn wins(alphas: &[f32], zero_shot: &[f32], cached: &[f32], label: usize) -> Range<usize> {
    let line = (zero_shot[label], cached[label]);
    // The classes around the label one by one, all others in whole lanes.
    let start = label / LANES * LANES;
    let end = (start + LANES).min(zero_shot.len());
    let mut before = Bounds::new(line, f32::INFINITY);
    before.narrow(&zero_shot[..start], &cached[..start]);
    before.narrow(&zero_shot[start..label], &cached[start..label]);
    let mut behind = Bounds::new(line, f32::NEG_INFINITY);
    behind.narrow(&zero_shot[label + 1..end], &cached[label + 1..end]);
    behind.narrow(&zero_shot[end..], &cached[end..]);
    let ((above, below), (from, to)) = (before.tightest(), behind.tightest());
    let start = alphas.partition_point(|&alpha| if above >= from { alpha <= above } else { alpha < from });
    let end = alphas.partition_point(|&alpha| if below <= to { alpha < below } else { alpha <= to });
    start..end.max(start)
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
    fn new(line: (f32, f32), same: f32) -> Self {
        Self { line, same, lower: [f32::NEG_INFINITY; LANES], upper: [f32::INFINITY; LANES] }
    }

    fn narrow(&mut self, zero_shot: &[f32], cached: &[f32]) {
        let (zero_shot, last_zero_shot) = zero_shot.as_chunks::<LANES>();
        let (cached, last_cached) = cached.as_chunks::<LANES>();
        for (zero_shot, cached) in zero_shot.iter().zip(cached) {
            self.narrow_lanes(zero_shot, cached);
        }
        self.narrow_lanes(last_zero_shot, last_cached);
    }

    #[inline(always)] // with a whole number of lanes there is no branch in it
    fn narrow_lanes(&mut self, zero_shot: &[f32], cached: &[f32]) {
        let bounds = self.lower.iter_mut().zip(&mut self.upper);
        for ((lower, upper), (zero_shot, cached)) in bounds.zip(zero_shot.iter().zip(cached)) {
            let (lead, slope) = (self.line.0 - zero_shot, self.line.1 - cached);
            // Parallel lines cross at an infinite `alpha`, of the sign that makes it the bound it should be.
            let crossing = if lead == 0.0 && slope == 0.0 { self.same } else { -lead / slope };
            let (low, high) =
                if slope >= 0.0 { (crossing, f32::INFINITY) } else { (f32::NEG_INFINITY, crossing) };
            *lower = if low > *lower { low } else { *lower };
            *upper = if high < *upper { high } else { *upper };
        }
    }

    fn tightest(&self) -> (f32, f32) {
        let lower = self.lower.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        (lower, self.upper.iter().copied().fold(f32::INFINITY, f32::min))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::argmax;

    /// Three lines with all slopes and heights of 0 to 2, far above 17 others: many of them tie.
    #[test]
    fn ties_go_to_the_first_class() {
        let alphas = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0];
        let places = [3, 9, 17]; // in whole lanes and in what is left over, before and behind
        for case in 0..3_usize.pow(6) {
            let digit = |at: u32| (case / 3_usize.pow(at) % 3) as f32;
            let (mut zero_shot, mut cached) = ([-9.0; 20], [0.0; 20]);
            for (at, place) in (0..).zip(places) {
                (zero_shot[place], cached[place]) = (digit(at), digit(at + 3));
            }
            for label in places {
                let wins = wins(&alphas, &zero_shot, &cached, label);
                for (at, alpha) in alphas.iter().enumerate() {
                    let logits: Vec<f32> = (0..20).map(|c| zero_shot[c] + alpha * cached[c]).collect();
                    assert_eq!(wins.contains(&at), argmax(&logits) == label, "{logits:?}, {label}");
                }
            }
        }
    }
}

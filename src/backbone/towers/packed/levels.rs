//! Eight bits for a number: `W = levels scales`, with a scale for each column of a matrix.

use crate::numerics::vector::{fold, larger, smaller};

/// The highest level of a weight.
const TOP: f32 = 127.0;

/// Weights `[inputs, outputs]` in eight bits, symmetric about 0.
#[derive(Debug, Clone)]
pub(in crate::backbone) struct Levels {
    pub levels: Vec<i8>,
    pub scales: Vec<f32>,
}

impl Levels {
    /// The nearest levels.
    ///
    /// # Shapes
    /// - `weights`: `[inputs, outputs]`
    pub fn of(weights: &[f32], outputs: usize) -> Self {
        let mut scales = vec![0.0f32; outputs];
        for row in weights.chunks_exact(outputs) {
            scales.iter_mut().zip(row).for_each(|(most, weight)| *most = most.max(weight.abs()));
        }
        scales.iter_mut().for_each(|scale| *scale = short(*scale / TOP));
        let rows = weights.chunks_exact(outputs);
        let levels = rows.flat_map(|row| row.iter().zip(&scales).map(|(weight, scale)| level(weight, scale)));
        Self { levels: levels.collect(), scales }
    }

    /// The same with a scale for each row.
    ///
    /// # Shapes
    /// - `weights`: `[rows, width]`
    pub fn of_rows(weights: &[f32], width: usize) -> Self {
        let most = |row: &[f32]| row.iter().fold(0.0f32, |most, weight| most.max(weight.abs()));
        let scales: Vec<f32> = weights.chunks_exact(width).map(|row| short(most(row) / TOP)).collect();
        let rows = weights.chunks_exact(width).zip(&scales);
        let levels =
            rows.flat_map(|(row, scale)| row.iter().map(move |weight| level(weight, scale))).collect();
        Self { levels, scales }
    }

    /// What the levels stand for.
    pub fn floats(&self) -> Vec<f32> {
        let rows = self.levels.chunks_exact(self.scales.len());
        rows.flat_map(|row| row.iter().zip(&self.scales).map(|(&level, scale)| f32::from(level) * scale))
            .collect()
    }
}

fn level(weight: &f32, scale: &f32) -> i8 {
    (weight / scale).round().clamp(-TOP, TOP) as i8
}

/// The next number above with 16 bits for the digits, so that its product with a level is exact, and the levels of such
/// products are those that they were.
fn short(scale: f32) -> f32 {
    const DROPPED: u32 = (1 << 8) - 1;
    f32::from_bits((scale.max(f32::MIN_POSITIVE).to_bits() + DROPPED) & !DROPPED)
}

/// Levels of a row of activations, between its least and its largest number: `x = scale (level - zero)`.
#[inline(always)]
pub(super) fn quantise(x: &[f32], levels: &mut [u8], top: f32) -> (f32, i32) {
    /// Adding it leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    // With 0 among them, so that 0 is a level.
    let least = fold(x, 0.0, |x| x, smaller);
    let most = fold(x, 0.0, |x| x, larger);
    let scale = ((most - least) / top).max(f32::MIN_POSITIVE);
    let (part, zero) = (scale.recip(), (-least / scale).round());
    for (level, x) in levels.iter_mut().zip(x) {
        *level = ((x * part + zero).clamp(0.0, top) + ROUND).to_bits() as u8;
    }
    (scale, zero as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_what_levels_stand_for_are_the_same() {
        let weights: Vec<f32> = (0..6_000).map(|at| ((at * 7_919) % 1_009) as f32 / 77.0 - 6.5).collect();
        let once = Levels::of(&weights, 60);
        let twice = Levels::of(&once.floats(), 60);
        assert_eq!(once.levels, twice.levels);
        assert_eq!(once.scales, twice.scales);
        let step = once.scales.iter().fold(0.0, |a: f32, &b| a.max(b));
        for (weight, float) in weights.iter().zip(once.floats()) {
            assert!((weight - float).abs() <= 0.501 * step, "{weight} {float}");
        }
        let rows = Levels::of_rows(&weights, 60);
        assert_eq!(rows.scales.len(), 100);
        assert!(rows.levels.chunks(60).all(|row| row.iter().map(|level| level.abs()).max() == Some(127)));
        let nothing = Levels::of(&[0.0; 4], 2);
        assert_eq!(nothing.levels, [0; 4]);
        assert_eq!(nothing.floats(), [0.0; 4]);
    }

    #[test]
    fn a_row_is_off_by_half_a_level_at_most() {
        for top in [127.0, 255.0] {
            for shift in [-9.0, -1.0, 0.0, 3.0] {
                let x: Vec<f32> = (0..333).map(|at| ((at * 37) % 101) as f32 / 20.0 + shift).collect();
                let mut levels = vec![0; x.len()];
                let (scale, zero) = quantise(&x, &mut levels, top);
                for (x, &level) in x.iter().zip(&levels) {
                    let found = scale * (f32::from(level) - zero as f32);
                    // The zero is rounded too, and so the ends may be cut by as much.
                    assert!((x - found).abs() <= 1.01 * scale, "{x} {found} {scale}");
                }
            }
        }
        let mut levels = [7; 3];
        quantise(&[0.0; 3], &mut levels, 255.0);
        assert_eq!(levels, [0; 3]);
    }
}

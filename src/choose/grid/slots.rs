use std::{array, ops::Range};

use crate::numerics::vector::{LANES, widest};

/// Classes side by side, so that the compiler takes several in one instruction.
pub(super) type Lanes = [f32; LANES];

/// The values of a cache that are not 0, sixteen classes side by side: what shots say of one class stands in one lane.
pub(super) struct Slots {
    pub classes: usize,
    /// The slots of each sixteen classes.
    pub groups: Vec<Range<usize>>,
    shots: Vec<[usize; LANES]>,
    /// 0 where a class has fewer shots than its neighbours.
    pub values: Vec<Lanes>,
}

impl Slots {
    /// Takes values `[shots, classes]`. One a shot is usual, but there may be any number.
    pub fn new(values: &[f32], classes: usize) -> Self {
        let mut of_class: Vec<Vec<(usize, f32)>> = vec![Vec::new(); classes];
        for (at, &value) in values.iter().enumerate().filter(|(_, value)| **value != 0.0) {
            of_class[at % classes].push((at / classes, value));
        }
        let mut slots = Self { classes, groups: Vec::new(), shots: Vec::new(), values: Vec::new() };
        for group in of_class.chunks(LANES) {
            let start = slots.shots.len();
            for slot in 0..group.iter().map(Vec::len).max().unwrap_or(0) {
                let entry = |lane: usize| group.get(lane).and_then(|class| class.get(slot)).copied();
                let entries: [(usize, f32); LANES] = array::from_fn(|lane| entry(lane).unwrap_or((0, 0.0)));
                slots.shots.push(entries.map(|(shot, _)| shot));
                slots.values.push(entries.map(|(_, value)| value));
            }
            slots.groups.push(start..slots.shots.len());
        }
        slots
    }

    /// What every shot has, at its slots.
    pub fn place(&self, of_shots: &[f32]) -> Vec<Lanes> {
        self.shots.iter().map(|shots| shots.map(|shot| of_shots[shot])).collect()
    }

    /// The classes in whole lanes.
    pub fn width(&self) -> usize {
        self.groups.len() * LANES
    }

    /// A sum for each class, in whole lanes.
    pub fn zeros(&self) -> Vec<f32> {
        vec![0.0; self.width()]
    }

    /// Adds up the weights of each class, `[classes]` in whole lanes, and multiplies them by `step`: as many times in
    /// turn as there are `sums`.
    pub fn add_up<const TIMES: usize>(
        &self,
        weights: &mut [Lanes],
        step: &[Lanes],
        sums: &mut [Vec<f32>; TIMES],
    ) {
        widest(
            #[inline(always)]
            || {
                for (at, group) in self.groups.iter().enumerate() {
                    let totals: [Lanes; TIMES] =
                        add_and_multiply(&mut weights[group.clone()], &step[group.clone()]);
                    for (sums, total) in sums.iter_mut().zip(&totals) {
                        sums[at * LANES..][..LANES].copy_from_slice(total);
                    }
                }
            },
        );
    }
}

#[inline(always)]
fn add_and_multiply<const TIMES: usize>(weights: &mut [Lanes], step: &[Lanes]) -> [Lanes; TIMES] {
    let mut totals = [[0.0; LANES]; TIMES];
    for (weights, step) in weights.iter_mut().zip(step) {
        // Copies, as the compiler does not know that the two are apart.
        let (mut weight, step) = (*weights, *step);
        for total in &mut totals {
            for lane in 0..LANES {
                total[lane] += weight[lane];
                weight[lane] *= step[lane];
            }
        }
        *weights = weight;
    }
    totals
}

pub(super) fn multiply(values: &mut [Lanes], by: &[Lanes]) {
    for (value, by) in values.as_flattened_mut().iter_mut().zip(by.as_flattened()) {
        *value *= by;
    }
}

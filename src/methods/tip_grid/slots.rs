use std::{array, ops::Range};

/// Classes side by side, so that the compiler takes several in one instruction.
pub(super) const LANES: usize = 8;
pub(super) type Lanes = [f32; LANES];

/// The values of a cache that are not 0, eight classes side by side: what shots say of one class stands in one lane.
pub(super) struct Slots {
    pub classes: usize,
    /// The slots of each eight classes.
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

    /// Adds up the weights of each class, and multiplies them by `step` on the way.
    pub fn add_up(&self, weights: &mut [Lanes], step: &[Lanes], sums: &mut [f32]) {
        for (group, sums) in self.groups.iter().zip(sums.chunks_exact_mut(LANES)) {
            let mut total: Lanes = [0.0; LANES];
            for (weights, step) in weights[group.clone()].iter_mut().zip(&step[group.clone()]) {
                for ((total, weight), step) in total.iter_mut().zip(weights).zip(step) {
                    *total += *weight;
                    *weight *= step;
                }
            }
            sums.copy_from_slice(&total);
        }
    }
}

pub(super) fn multiply(values: &mut [Lanes], by: &[Lanes]) {
    for (value, by) in values.as_flattened_mut().iter_mut().zip(by.as_flattened()) {
        *value *= by;
    }
}

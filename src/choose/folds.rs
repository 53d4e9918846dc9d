//! What is fitted and what is held out of it, in turn.

use crate::features::{FeatureSet, Support};

/// At most so many times a shot of each class is held out.
pub(crate) const ROTATIONS: usize = 16;

/// The rows of one shot of each class and all other rows, in turn and at most `limit` times. None where fewer
/// than half of the classes have a second shot: what so few say of is not what is asked for.
pub(crate) fn hold_outs(set: &FeatureSet, limit: usize) -> Vec<(Vec<usize>, Vec<usize>)> {
    let counts = set.class_counts();
    let with = |least: usize| counts.iter().filter(|&&count| count >= least).count();
    if 2 * with(2) < with(1) {
        return Vec::new();
    }
    (0..rotations(set, limit)).map(|rotation| hold_out(set, rotation)).collect()
}

/// Makes a set to fit and one to choose by, when it is their turn: all at once would be many copies of the shots.
pub(crate) type Fold<'a> = Box<dyn Fn() -> (FeatureSet, FeatureSet) + Send + Sync + 'a>;

/// Validation images are the only fold; without them there is one for each of the [`hold_outs`].
pub(crate) fn folds(support: &Support, limit: usize) -> Vec<Fold<'_>> {
    let set = support.set();
    if let Some(validation) = support.validation() {
        return vec![Box::new(|| (set.clone(), validation.clone()))];
    }
    let fold = |(held_out, kept): (Vec<usize>, Vec<usize>)| -> Fold<'_> {
        Box::new(move || (set.select(&kept), set.select(&held_out)))
    };
    hold_outs(set, limit).into_iter().map(fold).collect()
}

/// How often a shot can be held out, up to `limit` times: never where no class has two.
pub(crate) fn rotations(set: &FeatureSet, limit: usize) -> usize {
    let most = set.class_counts().into_iter().max().unwrap_or(0);
    if most < 2 { 0 } else { most.min(limit) }
}

/// The rows of one shot of each class, and all others. A class with a single shot is never held out.
pub(crate) fn hold_out(set: &FeatureSet, rotation: usize) -> (Vec<usize>, Vec<usize>) {
    let counts = set.class_counts();
    let mut seen = vec![0; counts.len()];
    (0..set.len()).partition(|&row| {
        let class = set.labels()[row];
        seen[class] += 1;
        counts[class] > 1 && seen[class] - 1 == rotation % counts[class]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Embeddings;

    #[test]
    fn one_shot_of_each_class_is_held_out_in_turn() {
        let rows = Embeddings::new(vec![1.0; 6], 1).unwrap();
        let set = FeatureSet::new(rows, vec![0, 1, 0, 0, 1, 2], ["a", "b", "c"]).unwrap();
        assert_eq!(hold_out(&set, 0), (vec![0, 1], vec![2, 3, 4, 5]));
        assert_eq!(hold_out(&set, 1), (vec![2, 4], vec![0, 1, 3, 5]));
        assert_eq!(hold_out(&set, 2), (vec![1, 3], vec![0, 2, 4, 5]));
    }

    #[test]
    fn half_of_the_classes_must_have_a_second_shot() {
        let set = |labels: &[usize]| {
            let rows = Embeddings::new(vec![1.0; labels.len()], 1).unwrap();
            FeatureSet::new(rows, labels.to_vec(), ["a", "b", "c", "none"]).unwrap()
        };
        assert!(hold_outs(&set(&[0, 0, 1, 2]), ROTATIONS).is_empty());
        assert!(hold_outs(&set(&[0]), ROTATIONS).is_empty());
        let twice = hold_outs(&set(&[0, 0, 1, 1, 2]), ROTATIONS);
        assert_eq!(twice, [(vec![0, 2], vec![1, 3, 4]), (vec![1, 3], vec![0, 2, 4])]);
        assert_eq!(folds(&Support::new(set(&[0, 0, 0])).unwrap(), 2).len(), 2);
    }
}

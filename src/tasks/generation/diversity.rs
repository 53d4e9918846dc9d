use crate::error::{Error, Result};
use crate::evaluate::retrieval::dot;
use crate::features::Embeddings;

use super::chooser::standardised;

/// What is left of an item's own direction below which it says nothing new.
const SPANNED: f64 = 1e-9;

/// `count` candidates that are good and unlike each other: maximal marginal relevance (Carbonell and Goldstein, 1998,
/// <https://doi.org/10.1145/290941.291025>).
///
/// The next one is `argmax_i lambda q_i - (1 - lambda) max_{j chosen} f_i f_j`, with the quality `q` scaled to 0..=1 over
/// the candidates; of equal ones the first. 0.7 for `lambda` keeps near the best, 0.5 goes farther apart.
///
/// # Errors
/// [`Error::Data`] if there is not one finite quality a candidate; [`Error::Setting`] if `lambda` is not in 0..=1.
///
/// # Examples
/// ```
/// use clip_adapter::{features::Embeddings, tasks::generation::mmr};
///
/// let candidates = Embeddings::new(vec![1.0, 0.0, 1.0, 0.01, 0.0, 1.0], 2)?;
/// assert_eq!(mmr(&[1.0, 0.9, 0.5], &candidates, 2, 1.0)?, [0, 1]);
/// assert_eq!(mmr(&[1.0, 0.9, 0.5], &candidates, 2, 0.5)?, [0, 2]); // the second looks like the first
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn mmr(quality: &[f32], candidates: &Embeddings, count: usize, lambda: f64) -> Result<Vec<usize>> {
    check(quality, candidates)?;
    if !(0.0..=1.0).contains(&lambda) {
        return Err(Error::setting("lambda", "0..=1", lambda));
    }
    let unit = candidates.normalised();
    let low = quality.iter().copied().fold(f32::INFINITY, f32::min);
    let range = (quality.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low).max(f32::MIN_POSITIVE);
    let mut nearest: Vec<Option<f32>> = vec![None; quality.len()];
    let mut chosen = Vec::new();
    while chosen.len() < count.min(quality.len()) {
        let worth = |item: usize| {
            let good = f64::from((quality[item] - low) / range);
            lambda * good - (1.0 - lambda) * f64::from(nearest[item].unwrap_or(0.0))
        };
        let next = best((0..quality.len()).filter(|item| !chosen.contains(item)), worth);
        for (item, nearest) in nearest.iter_mut().enumerate() {
            let near = dot(unit.row(item), unit.row(next));
            *nearest = Some(nearest.map_or(near, |nearest| nearest.max(near)));
        }
        chosen.push(next);
    }
    Ok(chosen)
}

/// `count` candidates that are good and span much: the greedy choice of a determinantal point process (Chen et al., 2018,
/// <https://arxiv.org/abs/1709.05135>, algorithm 1).
///
/// The next one adds most to `log det L_S` of `L_ij = e^(q_i / 2) f_i f_j e^(q_j / 2)`, with the quality `q` in standard
/// deviations from its mean. Once what is chosen spans all others, the best of these follow.
///
/// # Errors
/// [`Error::Data`] if there is not one finite quality a candidate.
///
/// # Examples
/// ```
/// use clip_adapter::{features::Embeddings, tasks::generation::dpp};
///
/// let candidates = Embeddings::new(vec![1.0, 0.0, 1.0, 0.01, 0.0, 1.0], 2)?;
/// assert_eq!(dpp(&[1.0, 0.9, 0.5], &candidates, 2)?, [0, 2]);
/// # Ok::<(), clip_adapter::Error>(())
/// ```
pub fn dpp(quality: &[f32], candidates: &Embeddings, count: usize) -> Result<Vec<usize>> {
    check(quality, candidates)?;
    let unit = candidates.normalised();
    let scale: Vec<f64> = standardised(quality).into_iter().map(|z| (z / 2.0).exp()).collect();
    let similar = |a: usize, b: usize| scale[a] * f64::from(dot(unit.row(a), unit.row(b))) * scale[b];
    // The squared length that each item has beside what is chosen, and its coordinates there (incremental Cholesky).
    let mut left: Vec<f64> = (0..quality.len()).map(|item| similar(item, item)).collect();
    let mut coordinates: Vec<Vec<f64>> = vec![Vec::new(); quality.len()];
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count.min(quality.len()) {
        let open = |item: &usize| !chosen.contains(item);
        let next = best((0..quality.len()).filter(open), |item| left[item]);
        if left[next] < SPANNED {
            let mut rest: Vec<usize> = (0..quality.len()).filter(open).collect();
            rest.sort_by(|&a, &b| quality[b].total_cmp(&quality[a]));
            chosen.extend(rest.into_iter().take(count - chosen.len()));
            break;
        }
        let (root, of_next) = (left[next].sqrt(), coordinates[next].clone());
        for item in 0..quality.len() {
            let known: f64 = coordinates[item].iter().zip(&of_next).map(|(a, b)| a * b).sum();
            let along = (similar(next, item) - known) / root;
            coordinates[item].push(along);
            left[item] -= along * along;
        }
        chosen.push(next);
    }
    Ok(chosen)
}

fn check(quality: &[f32], candidates: &Embeddings) -> Result<()> {
    if quality.len() != candidates.rows() {
        let expected = format!("one for each of {} candidates", candidates.rows());
        return Err(Error::data("quality", expected, quality.len()));
    }
    match quality.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(Error::data(format!("quality of candidate {at}"), "a finite number", quality[at])),
        None => Ok(()),
    }
}

/// The first item that is worth most.
fn best(items: impl Iterator<Item = usize>, worth: impl Fn(usize) -> f64) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for item in items {
        let worth = worth(item);
        if worth > best.1 {
            best = (item, worth);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn random(rows: usize, dim: usize) -> (Vec<f32>, Embeddings) {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let quality = (0..rows).map(|_| random.random_range(-1.0..1.0)).collect();
        let values = (0..rows * dim).map(|_| random.random_range(-1.0..1.0)).collect();
        (quality, Embeddings::new(values, dim).unwrap())
    }

    /// Against determinants of all sets that are one larger, by Gauss's elimination.
    #[test]
    fn each_step_adds_the_largest_determinant() {
        let (quality, rows) = random(9, 6);
        let chosen = dpp(&quality, &rows, 5).unwrap();
        let (unit, z) = (rows.normalised(), standardised(&quality));
        let determinant = |set: &[usize]| {
            let entry =
                |a: usize, b: usize| f64::from(dot(unit.row(a), unit.row(b))) * ((z[a] + z[b]) / 2.0).exp();
            let mut rows: Vec<Vec<f64>> =
                set.iter().map(|&a| set.iter().map(|&b| entry(a, b)).collect()).collect();
            let mut product = 1.0;
            for at in 0..set.len() {
                product *= rows[at][at];
                for below in at + 1..set.len() {
                    let factor = rows[below][at] / rows[at][at];
                    let (above, rest) = rows.split_at_mut(below);
                    rest[0].iter_mut().zip(&above[at]).for_each(|(entry, over)| *entry -= factor * over);
                }
            }
            product
        };
        for size in 0..5 {
            let with = |item: usize| [&chosen[..size], &[item]].concat();
            let all = (0..9).filter(|item| !chosen[..size].contains(item));
            let largest = all.map(|item| determinant(&with(item))).fold(0.0, f64::max);
            let found = determinant(&with(chosen[size]));
            assert!(found >= largest * (1.0 - 1e-5), "step {size}: {found} {largest}");
        }
    }

    #[test]
    fn everything_is_chosen_once() {
        let (quality, rows) = random(9, 3); // three span all
        for chosen in [dpp(&quality, &rows, 20).unwrap(), mmr(&quality, &rows, 20, 0.3).unwrap()] {
            let mut sorted = chosen.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..9), "{chosen:?}");
        }
        let by_quality = mmr(&quality, &rows, 9, 1.0).unwrap();
        assert!(by_quality.windows(2).all(|pair| quality[pair[0]] >= quality[pair[1]]));
        assert!(mmr(&[], &rows.select(&[]), 3, 0.5).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_quality_is_refused() {
        let (mut quality, rows) = random(3, 2);
        assert!(matches!(mmr(&quality, &rows, 2, 1.1), Err(Error::Setting { .. })));
        quality[1] = f32::NAN;
        assert!(matches!(dpp(&quality, &rows, 2), Err(Error::Data { .. })));
        assert!(matches!(mmr(&quality[..2], &rows, 2, 0.5), Err(Error::Data { .. })));
    }
}

//! The measures of one query, as functions of the places of what is relevant to it.

/// The places of the relevant items in the list of a query, counted from 0 and sorted.
///
/// `place = #{items with a higher score} + #{irrelevant items with the same score} / 2`; relevant items that share a
/// score stand one behind the other. `itself` is left out of the list: where images are sought by images, the query.
///
/// # Panics
/// If a relevant item is not below the number of scores.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::places;
///
/// let scores = [0.3, 0.9, 0.3, 0.1];
/// assert_eq!(places(&scores, &[1], None), [0.0]);
/// assert_eq!(places(&scores, &[0], None), [1.5]); // one above, and one beside it
/// assert_eq!(places(&scores, &[0, 2], None), [1.0, 2.0]);
/// assert_eq!(places(&scores, &[0], Some(1)), [0.5]);
/// ```
pub fn places(scores: &[f32], relevant: &[usize], itself: Option<usize>) -> Vec<f64> {
    let mut order: Vec<usize> = relevant.iter().copied().filter(|&item| Some(item) != itself).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    // How many irrelevant items, and halves of them, stand right before each of the relevant ones.
    let mut halves = vec![0usize; order.len() + 1];
    let mut is_relevant = vec![false; scores.len()];
    relevant.iter().for_each(|&item| is_relevant[item] = true);
    for (item, &score) in scores.iter().enumerate() {
        if is_relevant[item] || Some(item) == itself {
            continue;
        }
        let not_below = order.partition_point(|&relevant| scores[relevant] > score);
        let below = order.partition_point(|&relevant| scores[relevant] >= score);
        halves[not_below] += 1;
        halves[below] += 1;
    }
    let mut before = 0;
    let place = |(at, halves): (usize, usize)| {
        before += halves;
        at as f64 + before as f64 / 2.0
    };
    halves.into_iter().take(order.len()).enumerate().map(place).collect()
}

/// `1 / (place + 1)` of the first relevant item; 0 without one.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::reciprocal_rank;
///
/// assert_eq!(reciprocal_rank(&[3.0, 7.0]), 0.25);
/// ```
pub fn reciprocal_rank(places: &[f64]) -> f64 {
    places.first().map_or(0.0, |place| 1.0 / (place + 1.0))
}

/// The part of the first `k` items that is relevant.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::precision_at;
///
/// assert_eq!(precision_at(&[0.0, 3.0, 9.0], 4), 0.5);
/// ```
pub fn precision_at(places: &[f64], k: usize) -> f64 {
    places.iter().filter(|&&place| place < k as f64).count() as f64 / k.max(1) as f64
}

/// The mean over the relevant items of the precision at the place of each; 0 without one.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::average_precision;
///
/// assert_eq!(average_precision(&[0.0, 3.0]), (1.0 + 2.0 / 4.0) / 2.0);
/// ```
pub fn average_precision(places: &[f64]) -> f64 {
    precision_below(places, f64::INFINITY)
}

/// The same of the first R items alone, of which as many as there are relevant ones: one number for recall and order
/// (Musgrave et al., 2020, section 2.2, <https://arxiv.org/abs/2003.08505>).
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::map_at_r;
///
/// assert_eq!(map_at_r(&[0.0, 3.0]), 0.5); // the second is not among the first two
/// ```
pub fn map_at_r(places: &[f64]) -> f64 {
    precision_below(places, places.len() as f64)
}

fn precision_below(places: &[f64], end: f64) -> f64 {
    let found = places.iter().enumerate().filter(|(_, place)| **place < end);
    let sum: f64 = found.map(|(at, place)| (at + 1) as f64 / (place + 1.0)).sum();
    sum / places.len().max(1) as f64
}

/// `sum_i g_i / log2(p_i + 2)` over the relevant items at a place `p_i` below `k`, as a part of what the best order gives
/// (Järvelin and Kekäläinen, 2002, <https://doi.org/10.1145/582415.582418>). `found` holds place and gain of each relevant
/// item.
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::ndcg_at;
///
/// assert_eq!(ndcg_at(&[(0.0, 1.0)], 10), 1.0);
/// approx::assert_abs_diff_eq!(ndcg_at(&[(2.0, 1.0)], 10), 0.5, epsilon = 1e-12);
/// assert!(ndcg_at(&[(0.0, 1.0), (1.0, 3.0)], 10) < 1.0); // the better one should come first
/// ```
pub fn ndcg_at(found: &[(f64, f64)], k: usize) -> f64 {
    let worth = |place: f64, gain: f64| if place < k as f64 { gain / (place + 2.0).log2() } else { 0.0 };
    let mut gains: Vec<f64> = found.iter().map(|&(_, gain)| gain).collect();
    gains.sort_by(|a, b| b.total_cmp(a));
    let best: f64 = gains.into_iter().enumerate().map(|(place, gain)| worth(place as f64, gain)).sum();
    if best <= 0.0 {
        return 0.0;
    }
    found.iter().map(|&(place, gain)| worth(place, gain)).sum::<f64>() / best
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn a_place_is_what_the_definition_counts() {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        for _ in 0..200 {
            // Few different scores, so that there are ties of every kind.
            let scores: Vec<f32> = (0..12).map(|_| random.random_range(0..5) as f32).collect();
            let relevant: Vec<usize> = (0..12).filter(|_| random.random_bool(0.3)).collect();
            let itself = random.random_bool(0.5).then(|| random.random_range(0..12));
            let sought: Vec<usize> = relevant.iter().copied().filter(|&at| Some(at) != itself).collect();
            let others: Vec<usize> =
                (0..12).filter(|at| !relevant.contains(at) && Some(*at) != itself).collect();
            let mut expected: Vec<f64> = (sought.iter())
                .map(|&at| {
                    let above = others.iter().filter(|&&other| scores[other] > scores[at]).count() as f64;
                    let beside = others.iter().filter(|&&other| scores[other] == scores[at]).count() as f64;
                    above + beside / 2.0
                })
                .collect();
            expected.sort_by(f64::total_cmp);
            let expected: Vec<f64> =
                expected.iter().enumerate().map(|(at, place)| at as f64 + place).collect();
            assert_eq!(places(&scores, &relevant, itself), expected);
        }
    }

    #[test]
    fn equal_scores_find_nothing() {
        assert_eq!(places(&[0.5; 101], &[7], None), [50.0]);
        assert_eq!(places(&[0.5; 4], &[0, 1, 2, 3], None), [0.0, 1.0, 2.0, 3.0]);
        assert!(places(&[0.5; 4], &[2], Some(2)).is_empty());
        assert_eq!((reciprocal_rank(&[]), average_precision(&[]), map_at_r(&[])), (0.0, 0.0, 0.0));
    }

    #[test]
    fn the_best_list_has_every_measure_at_one() {
        let best = [0.0, 1.0, 2.0];
        let gained: Vec<(f64, f64)> = best.iter().map(|&place| (place, 1.0)).collect();
        for value in [average_precision(&best), map_at_r(&best), precision_at(&best, 3), ndcg_at(&gained, 3)]
        {
            assert_eq!(value, 1.0);
        }
        assert_eq!(ndcg_at(&[(0.0, 0.0)], 10), 0.0);
        // By hand: 3 / log2(3) + 1 / log2(2) of 3 / log2(2) + 1 / log2(3).
        let expected = (3.0 / 3f64.log2() + 1.0) / (3.0 + 1.0 / 3f64.log2());
        approx::assert_abs_diff_eq!(ndcg_at(&[(1.0, 3.0), (0.0, 1.0)], 5), expected, epsilon = 1e-12);
    }
}

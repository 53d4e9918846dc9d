use serde::{Deserialize, Serialize};

/// Queries of which a gallery item must be the first answer to be called a hub.
const HUB: usize = 4;

/// How unevenly the first answers of all queries fall on the gallery: a few items, the hubs, come first for many
/// queries, and many for none (Radovanović et al., 2010, <https://jmlr.org/papers/v11/radovanovic10a.html>).
///
/// # Examples
/// ```
/// use clip_adapter::evaluate::retrieval::Hubness;
///
/// let hubness = Hubness::of(&[5, 1, 0, 0]);
/// assert_eq!((hubness.hubs, hubness.never), (1, 2));
/// assert!(hubness.skew > 0.9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hubness {
    /// Gallery items that are the first answer of four queries or more.
    pub hubs: usize,
    /// Gallery items that are the first answer of none.
    pub never: usize,
    /// The skewness of the number of queries that an item is the first answer of; 0 where all have as many.
    pub skew: f64,
}

impl Hubness {
    /// From the number of queries that each gallery item is the first answer of.
    pub fn of(firsts: &[usize]) -> Self {
        let count = firsts.len().max(1) as f64;
        let mean = firsts.iter().sum::<usize>() as f64 / count;
        let moment =
            |power: i32| firsts.iter().map(|&first| (first as f64 - mean).powi(power)).sum::<f64>() / count;
        let spread = moment(2);
        Self {
            hubs: firsts.iter().filter(|&&first| first >= HUB).count(),
            never: firsts.iter().filter(|&&first| first == 0).count(),
            skew: if spread > 0.0 { moment(3) / spread.powf(1.5) } else { 0.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skewness_is_the_third_standardised_moment() {
        assert_eq!(Hubness::of(&[2; 7]).skew, 0.0);
        assert_eq!(Hubness::of(&[]).skew, 0.0);
        // One of n at 1 and all others at 0: (n - 2) / sqrt(n - 1).
        let skew = Hubness::of(&[1, 0, 0, 0, 0]).skew;
        approx::assert_abs_diff_eq!(skew, 3.0 / 2.0, epsilon = 1e-12);
    }
}

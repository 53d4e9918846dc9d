use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Histories, Recommender};

/// Every user is shown what most users chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Popularity {
    counts: Vec<usize>,
}

impl Popularity {
    /// Counts who chose what.
    pub fn fit(histories: &Histories) -> Self {
        Self { counts: histories.popularity() }
    }
}

impl Recommender for Popularity {
    fn name(&self) -> &'static str {
        "popularity"
    }

    fn scores(&self, _user: usize, _history: &[usize]) -> Vec<f32> {
        self.counts.iter().map(|&count| count as f32).collect()
    }
}

/// Every user is shown anything: what other numbers begin at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random {
    /// Items of the catalogue.
    pub items: usize,
    /// Fixes the lists.
    pub seed: u64,
}

impl Recommender for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn scores(&self, user: usize, _history: &[usize]) -> Vec<f32> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(user as u64);
        (0..self.items).map(|_| random.random()).collect()
    }
}

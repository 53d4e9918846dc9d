use std::f64::consts::PI;

/// CoOp's learning rates, which CLIP-Adapter's released code uses: a few constant warm-up epochs, then a cosine
/// that has already advanced by them (Zhou et al., 2022, <https://arxiv.org/abs/2109.01134>, released code).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub rate: f64,
    pub warmup_rate: f64,
    pub warmup_epochs: usize,
    pub epochs: usize,
}

impl Schedule {
    /// The rate of an epoch, counted from 0.
    pub fn rate(&self, epoch: usize) -> f64 {
        if epoch < self.warmup_epochs {
            return self.warmup_rate;
        }
        0.5 * self.rate * (1.0 + (PI * epoch as f64 / self.epochs as f64).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warm_up_epoch_then_a_cosine_that_counts_it() {
        let schedule = Schedule { rate: 0.002, warmup_rate: 1e-5, warmup_epochs: 1, epochs: 4 };
        let rates: Vec<f64> = (0..4).map(|epoch| schedule.rate(epoch)).collect();
        let half = 0.5f64.sqrt();
        for (rate, expected) in rates.iter().zip([1e-5, 0.001 * (1.0 + half), 0.001, 0.001 * (1.0 - half)]) {
            approx::assert_abs_diff_eq!(*rate, expected, epsilon = 1e-12);
        }
    }
}

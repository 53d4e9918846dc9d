use std::f64::consts::PI;

/// The logit scale that published learning rates are for: OpenAI's CLIPs have it, and most others.
const LOGIT_SCALE: f64 = 100.0;

/// CoOp's learning rates, which CLIP-Adapter's released code uses: a few constant warm-up epochs, then a cosine
/// that has already advanced by them (Zhou et al., 2022, <https://arxiv.org/abs/2109.01134>, released code).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub rate: f64,
    pub warmup_rate: f64,
    pub warmup_epochs: usize,
    pub epochs: usize,
    /// Whether the cosine advances with every step rather than with every epoch.
    pub smooth: bool,
}

impl Schedule {
    /// A cosine from the first epoch on, which falls with every step.
    pub fn smooth(rate: f64, epochs: usize) -> Self {
        Self { rate, warmup_rate: 0.0, warmup_epochs: 0, epochs, smooth: true }
    }

    /// The same for logits of another scale, which grow more slowly with the weights: in larger steps.
    pub fn at_scale(self, logit_scale: f64) -> Self {
        let faster = LOGIT_SCALE / logit_scale;
        Self { rate: self.rate * faster, warmup_rate: self.warmup_rate * faster, ..self }
    }

    /// The rate in an epoch, counted from 0, of which `part` is done.
    pub fn rate(&self, epoch: usize, part: f64) -> f64 {
        if epoch < self.warmup_epochs {
            return self.warmup_rate;
        }
        let at = epoch as f64 + if self.smooth { part } else { 0.0 };
        0.5 * self.rate * (1.0 + (PI * at / self.epochs as f64).cos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warm_up_epoch_then_a_cosine_that_counts_it() {
        let schedule =
            Schedule { rate: 0.002, warmup_rate: 1e-5, warmup_epochs: 1, epochs: 4, smooth: false };
        let rates: Vec<f64> = (0..4).map(|epoch| schedule.rate(epoch, 0.7)).collect();
        let half = 0.5f64.sqrt();
        for (rate, expected) in rates.iter().zip([1e-5, 0.001 * (1.0 + half), 0.001, 0.001 * (1.0 - half)]) {
            approx::assert_abs_diff_eq!(*rate, expected, epsilon = 1e-12);
        }
    }

    #[test]
    fn a_smaller_logit_scale_takes_larger_steps() {
        let schedule =
            Schedule { rate: 0.002, warmup_rate: 1e-5, warmup_epochs: 1, epochs: 4, smooth: false };
        for (scale, expected) in [(100.0, (0.002, 1e-5)), (25.0, (0.008, 4e-5))] {
            let Schedule { rate, warmup_rate, .. } = schedule.at_scale(scale);
            assert_eq!((rate, warmup_rate), expected);
        }
    }

    #[test]
    fn a_smooth_cosine_does_not_wait_for_the_epoch() {
        let schedule = Schedule::smooth(2.0, 2);
        let rates = [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5)].map(|(epoch, part)| schedule.rate(epoch, part));
        let half = 0.5f64.sqrt();
        for (rate, expected) in rates.iter().zip([2.0, 1.0 + half, 1.0, 1.0 - half]) {
            approx::assert_abs_diff_eq!(*rate, expected, epsilon = 1e-12);
        }
    }
}

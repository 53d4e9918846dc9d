use std::f64::consts::PI;

/// The logit scale that published learning rates are for: OpenAI's CLIPs have it, and most others.
const LOGIT_SCALE: f64 = 100.0;

/// The learning rate of every step: a warm-up, then a cosine. Three published ones are [`coop`](Self::coop),
/// [`cosine`](Self::cosine) and [`clip`](Self::clip).
///
/// # Examples
/// ```
/// use clip_adapter::train::Schedule;
///
/// let schedule = Schedule::cosine(2.0, 2); // two epochs, here of four steps each
/// assert_eq!(schedule.rate(0, 0, 4), 2.0);
/// approx::assert_abs_diff_eq!(schedule.rate(1, 0, 4), 1.0, epsilon = 1e-12);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The largest rate.
    pub rate: f64,
    /// What comes before the cosine.
    pub warmup: Warmup,
    /// Epochs in all, those of the warm-up included.
    pub epochs: usize,
    /// Whether the cosine advances with every step rather than with every epoch.
    pub smooth: bool,
    /// The part of the largest rate that the cosine ends at.
    pub floor: f64,
}

/// How a training begins.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Warmup {
    /// At once.
    None,
    /// With some epochs at a small rate.
    Constant {
        /// The rate.
        rate: f64,
        /// So many epochs.
        epochs: usize,
    },
    /// With a rate that rises from 0 over a part of all steps, and is multiplied with the cosine.
    Linear {
        /// The part of all steps, above 0.
        part: f64,
    },
}

impl Schedule {
    /// CoOp's, which CLIP-Adapter's released code uses: one warm-up epoch at 1e-5, then a cosine that has already
    /// advanced by it, epoch by epoch (Zhou et al., 2022, <https://arxiv.org/abs/2109.01134>, released code).
    pub const fn coop(rate: f64, epochs: usize) -> Self {
        let warmup = Warmup::Constant { rate: 1e-5, epochs: 1 };
        Self { rate, warmup, epochs, smooth: false, floor: 0.0 }
    }

    /// Tip-Adapter-F's and ProLIP's: a cosine from the first epoch on, which falls with every step (Zhang et al., 2022,
    /// <https://arxiv.org/abs/2207.09519>, released code).
    pub const fn cosine(rate: f64, epochs: usize) -> Self {
        Self { rate, warmup: Warmup::None, epochs, smooth: true, floor: 0.0 }
    }

    /// CLIP's own: a linear warm-up over a part of all steps, then a cosine that falls with every step (Radford et
    /// al., 2021, section 2.5, <https://arxiv.org/abs/2103.00020>).
    pub const fn clip(rate: f64, epochs: usize, warmup: f64) -> Self {
        Self { rate, warmup: Warmup::Linear { part: warmup }, epochs, smooth: true, floor: 0.0 }
    }

    /// The same for logits of another scale, which grow more slowly with the weights: in larger steps.
    pub fn at_scale(self, logit_scale: f64) -> Self {
        let faster = LOGIT_SCALE / logit_scale;
        let warmup = match self.warmup {
            Warmup::Constant { rate, epochs } => Warmup::Constant { rate: rate * faster, epochs },
            other => other,
        };
        Self { rate: self.rate * faster, warmup, ..self }
    }

    /// The rate of a step of an epoch, both counted from 0, of `steps` in every epoch.
    pub fn rate(&self, epoch: usize, step: usize, steps: usize) -> f64 {
        if let Warmup::Constant { rate, epochs } = self.warmup
            && epoch < epochs
        {
            return rate;
        }
        let part = step as f64 / steps as f64;
        let at = epoch as f64 + if self.smooth { part } else { 0.0 };
        let cosine = 0.5 * self.rate * (1.0 + (PI * at / self.epochs as f64).cos());
        let rate = self.floor * self.rate + (1.0 - self.floor) * cosine;
        match self.warmup {
            Warmup::Linear { part } => {
                let done = (epoch * steps + step + 1) as f64 / (self.epochs * steps) as f64;
                rate * (done / part).min(1.0)
            }
            _ => rate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warm_up_epoch_then_a_cosine_that_counts_it() {
        let schedule = Schedule::coop(0.002, 4);
        let rates: Vec<f64> = (0..4).map(|epoch| schedule.rate(epoch, 7, 10)).collect();
        let half = 0.5f64.sqrt();
        for (rate, expected) in rates.iter().zip([1e-5, 0.001 * (1.0 + half), 0.001, 0.001 * (1.0 - half)]) {
            approx::assert_abs_diff_eq!(*rate, expected, epsilon = 1e-12);
        }
    }

    #[test]
    fn a_smaller_logit_scale_takes_larger_steps() {
        for (scale, expected) in [(100.0, (0.002, 1e-5)), (25.0, (0.008, 4e-5))] {
            let Schedule { rate, warmup, .. } = Schedule::coop(0.002, 4).at_scale(scale);
            assert_eq!((rate, warmup), (expected.0, Warmup::Constant { rate: expected.1, epochs: 1 }));
        }
    }

    #[test]
    fn a_smooth_cosine_does_not_wait_for_the_epoch() {
        let schedule = Schedule::cosine(2.0, 2);
        let rates = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(epoch, step)| schedule.rate(epoch, step, 2));
        let half = 0.5f64.sqrt();
        for (rate, expected) in rates.iter().zip([2.0, 1.0 + half, 1.0, 1.0 - half]) {
            approx::assert_abs_diff_eq!(*rate, expected, epsilon = 1e-12);
        }
    }

    /// Eight steps, of which two are warm-up, down to a tenth.
    #[test]
    fn a_linear_warm_up_is_multiplied_with_the_cosine() {
        let schedule = Schedule { floor: 0.1, ..Schedule::clip(2.0, 2, 0.25) };
        let cosine = |step: f64| 0.2 + 0.9 * (1.0 + (PI * step / 8.0).cos());
        for step in 0..8 {
            let expected = cosine(step as f64) * if step == 0 { 0.5 } else { 1.0 };
            approx::assert_abs_diff_eq!(schedule.rate(step / 4, step % 4, 4), expected, epsilon = 1e-12);
        }
    }
}

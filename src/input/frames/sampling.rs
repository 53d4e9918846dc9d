use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Frames that one video may give.
const MOST: usize = 1 << 16;

/// Which frames of a video are taken.
///
/// # Examples
/// ```
/// use clip_adapter::input::Sampling;
///
/// assert_eq!(Sampling::Uniform { frames: 4 }.places(10), [1, 3, 6, 8]);
/// assert_eq!(Sampling::Uniform { frames: 4 }.places(2), [0, 0, 1, 1]);
/// assert_eq!(Sampling::default().to_string(), "8 frames, uniform");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Sampling {
    /// So many, each in the middle of its share: of `n` frames those at `floor((i + 1/2) n / frames)`. A video of fewer
    /// gives some of them several times. Of black beginnings and ends little is seen.
    Uniform {
        /// How many.
        frames: usize,
    },
    /// So many a second, and no more than `max`.
    Rate {
        /// Frames a second.
        fps: f64,
        /// The most.
        max: usize,
    },
}

impl Default for Sampling {
    fn default() -> Self {
        Self::Uniform { frames: 8 }
    }
}

impl Sampling {
    /// Checks the numbers against their ranges.
    ///
    /// # Errors
    /// [`Error::Setting`] for the first one outside.
    pub fn validate(&self) -> Result<()> {
        let range = 1..=MOST;
        match *self {
            Self::Uniform { frames } if !range.contains(&frames) => {
                Err(Error::setting("frames", format!("1..={MOST}"), frames))
            }
            Self::Rate { max, .. } if !range.contains(&max) => {
                Err(Error::setting("max", format!("1..={MOST}"), max))
            }
            Self::Rate { fps, .. } if !(fps > 0.0 && fps <= 1000.0) => {
                Err(Error::setting("fps", "above 0 and at most 1000", fps))
            }
            _ => Ok(()),
        }
    }

    /// The most frames that it gives.
    pub fn most(&self) -> usize {
        match *self {
            Self::Uniform { frames } => frames,
            Self::Rate { max, .. } => max,
        }
    }

    /// The places of its frames among `count` that are as far apart as those of one second.
    pub fn places(&self, count: usize) -> Vec<usize> {
        let times: Vec<f64> = (0..count).map(|frame| frame as f64).collect();
        self.places_at(&times, count as f64)
    }

    /// The places of its frames among some that are shown at these times, of which the last ends at `end`.
    pub(super) fn places_at(&self, times: &[f64], end: f64) -> Vec<usize> {
        match *self {
            _ if times.is_empty() => Vec::new(),
            Self::Uniform { frames } => {
                (0..frames).map(|at| (2 * at + 1) * times.len() / (2 * frames)).collect()
            }
            Self::Rate { fps, max } => {
                let count = ((end * fps).ceil() as usize).clamp(1, max);
                let shown = |at: usize| times.partition_point(|time| *time <= at as f64 / fps + 1e-9);
                (0..count).map(|at| shown(at).saturating_sub(1)).collect()
            }
        }
    }
}

impl fmt::Display for Sampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform { frames } => write!(f, "{frames} frames, uniform"),
            Self::Rate { fps, max } => write!(f, "{fps} fps, at most {max}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_the_times() {
        let times = [0.0, 0.1, 0.9, 2.5];
        let rate = |fps, max| Sampling::Rate { fps, max }.places_at(&times, 3.2);
        assert_eq!(rate(1.0, 60), [0, 2, 2, 3]);
        assert_eq!(rate(1.0, 2), [0, 2]);
        assert_eq!(rate(0.1, 60), [0]);
        assert!(Sampling::default().places_at(&[], 0.0).is_empty());
    }

    #[test]
    fn impossible_samplings_are_refused() {
        for sampling in [
            Sampling::Uniform { frames: 0 },
            Sampling::Rate { fps: f64::NAN, max: 1 },
            Sampling::Rate { fps: 0.0, max: 1 },
            Sampling::Rate { fps: 1.0, max: 0 },
        ] {
            assert!(matches!(sampling.validate(), Err(Error::Setting { .. })), "{sampling}");
        }
    }
}

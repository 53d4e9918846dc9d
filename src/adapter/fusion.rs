use burn::{
    config::Config,
    module::{Module, Param},
    tensor::{Device, Tensor, TensorData, activation},
};
use serde::{Deserialize, Serialize};

/// How a [`ResidualFusion`] comes by its ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RatioKind {
    /// A constant.
    Fixed,
    /// One learned number: `sigmoid(rho)`.
    Learned,
    /// One learned number a row: for text features, one a class.
    PerRow {
        /// The number of rows every input must then have.
        rows: usize,
    },
}

/// Settings of a [`ResidualFusion`].
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `ratio` | 0.2 | 0..=1, learned kinds 0..1 | weight of the adapted branch; the initial one where it is learned |
/// | `kind` | fixed | | constant, learned, or learned for each row |
#[derive(Config, Debug)]
pub struct ResidualFusionConfig {
    /// Weight of the adapted branch.
    #[config(default = 0.2)]
    pub ratio: f64,
    /// Constant or learned.
    #[config(default = "RatioKind::Fixed")]
    pub kind: RatioKind,
}

impl ResidualFusionConfig {
    /// A new fusion.
    ///
    /// # Panics
    /// If `ratio` is outside its range.
    pub fn init(&self, device: &Device) -> ResidualFusion {
        let ratio = self.ratio;
        assert!((0.0..=1.0).contains(&ratio), "fusion ratio: expected 0..=1, found {ratio}");
        let rows = match self.kind {
            RatioKind::Fixed => return ResidualFusion { fixed: ratio, rho: None },
            RatioKind::Learned => 1,
            RatioKind::PerRow { rows } => rows,
        };
        assert!(
            ratio > 0.0 && ratio < 1.0,
            "learned fusion ratio: expected above 0 and below 1, found {ratio}"
        );
        let rho = (ratio / (1.0 - ratio)).ln() as f32;
        let rho = Param::from_data(TensorData::new(vec![rho; rows], [rows, 1]), device);
        ResidualFusion { fixed: ratio, rho: Some(rho) }
    }
}

/// Blends the adapted feature with the original one: `ratio * adapted + (1 - ratio) * original`.
///
/// CLIP-Adapter (Gao et al., 2021), section 3.2, <https://arxiv.org/abs/2110.04544>. `ratio` is the paper's
/// alpha: 0 is zero-shot CLIP bit for bit, 1 is the adapter alone. A learned ratio is `sigmoid(rho)`.
/// The result is *not* normalised; the caller does that, after the blend.
#[derive(Module, Debug)]
pub struct ResidualFusion {
    fixed: f64,
    rho: Option<Param<Tensor<2>>>, // [1 or rows, 1]
}

impl ResidualFusion {
    /// Blends two features of each row.
    ///
    /// # Shapes
    /// - `adapted`, `original`: `[rows, dim]`, same dtype and device
    /// - returns: `[rows, dim]`
    ///
    /// # Panics
    /// If the two shapes differ, or there is one ratio a row and the number of rows is another.
    ///
    /// # Examples
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use clip_adapter::ResidualFusionConfig;
    ///
    /// let device = Device::flex();
    /// let fusion = ResidualFusionConfig::new().with_ratio(0.25).init(&device);
    /// let (adapted, original) = (Tensor::<2>::full([1, 2], 8.0, &device), Tensor::<2>::full([1, 2], 4.0, &device));
    /// assert_eq!(fusion.forward(adapted, original).try_to_vec_as::<f32>().unwrap(), [5.0, 5.0]);
    /// ```
    pub fn forward(&self, adapted: Tensor<2>, original: Tensor<2>) -> Tensor<2> {
        assert_eq!(adapted.dims(), original.dims(), "fusion: the two inputs differ in shape");
        match &self.rho {
            None => adapted.mul_scalar(self.fixed) + original.mul_scalar(1.0 - self.fixed),
            Some(rho) => {
                let ratio = activation::sigmoid(rho.val()); // [1 or rows, 1]
                adapted * ratio.clone() + original * (ratio.neg() + 1.0)
            }
        }
    }

    /// The ratio, if it is a constant.
    pub(crate) fn fixed(&self) -> Option<f64> {
        self.rho.is_none().then_some(self.fixed)
    }

    /// The constant, whether or not a learned ratio stands in for it.
    pub(crate) fn constant(&self) -> f64 {
        self.fixed
    }

    /// Replaces a constant ratio.
    pub(crate) fn set_fixed(&mut self, ratio: f64) {
        self.fixed = ratio;
    }

    /// The ratio in force, one number or one a row.
    pub fn ratios(&self) -> Vec<f64> {
        match &self.rho {
            None => vec![self.fixed],
            Some(rho) => activation::sigmoid(rho.val()).into_data().iter::<f64>().collect(),
        }
    }
}

use std::{fmt, str::FromStr};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, FloatDType, Tensor},
};
use serde::{Deserialize, Serialize};

use super::towers::{Form, is_flex};
use crate::error::{Error, Result};

/// What the towers of a backbone compute in.
///
/// f16 and bf16 are meant for GPUs that have units for it. Embeddings of f16 stay within a part in a hundred of those of
/// f32; bf16 has three bits less and the range of f32.
///
/// int8 is for Flex, the CPU, where it is about three times as fast as f32 ([`guide::speed`](crate::guide::speed)): the
/// weights of a tower's products have eight bits and a scale for each of their columns, and so have the numbers that a
/// product takes, with a scale for each row, found as it passes. Sums are exact; norms, softmax, residuals and
/// projections stay in f32. A norm's channels far above the others hand scale on to the weights after them (SmoothQuant,
/// Xiao et al., 2022, <https://arxiv.org/abs/2211.10438>, equation 4), as made-up pictures and a few sentences show it.
/// The image tower of a ResNet stays in f32.
///
/// | Name | Bits | Largest number | Digits |
/// | --- | ---: | ---: | ---: |
/// | `f32` (default) | 32 | 3.4e38 | 7 |
/// | `f16` | 16 | 65,504 | 3 |
/// | `bf16` | 16 | 3.4e38 | 2 |
/// | `int8` | 8 | the row's | 2 |
///
/// # Examples
/// ```
/// use clip_adapter::backbone::Precision;
///
/// assert_eq!("bf16".parse::<Precision>()?, Precision::Bf16);
/// assert_eq!(Precision::default().to_string(), "f32");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 11 of them for the digits.
    F16,
    /// 16 bits, 8 of them for the digits, with the range of f32.
    Bf16,
    /// 8 bits for weights and for what they are multiplied with.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Int8];

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// What tensors between the products have.
    fn dtype(self) -> FloatDType {
        match self {
            Self::F32 | Self::Int8 => FloatDType::F32,
            Self::F16 => FloatDType::F16,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// Whether `device` stores it and calculates in it.
    pub fn is_supported(self, device: &Device) -> bool {
        (self != Self::Int8 || is_flex(device)) && device.supports_dtype(self.dtype())
    }

    /// What a transformer becomes that is laid out for the host's kernels; nothing if it stays one of tensors.
    pub(super) fn form<S>(self, device: &Device, samples: Option<S>) -> Option<Form<S>> {
        match self {
            Self::F32 if is_flex(device) => Some(Form::Floats),
            Self::Int8 => Some(samples.map_or(Form::Bytes, Form::Smoothed)),
            _ => None,
        }
    }

    pub(super) fn check(self, device: &Device) -> Result<()> {
        if self.is_supported(device) {
            return Ok(());
        }
        let supported = Self::ALL.into_iter().filter(|precision| precision.is_supported(device));
        let names: Vec<&str> = supported.map(Self::name).collect();
        let expected = format!("one that the device calculates in ({})", names.join(", "));
        Err(Error::setting("precision", expected, self))
    }

    /// A tensor in this precision.
    pub(super) fn tensor<const D: usize>(self, tensor: Tensor<D>) -> Tensor<D> {
        tensor.cast(self.dtype())
    }

    /// A tower with every parameter in this precision.
    pub(super) fn tower<M: Module>(self, tower: M) -> M {
        tower.map(&mut Cast(self))
    }
}

struct Cast(Precision);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
        parameter.map(|tensor| self.0.tensor(tensor))
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(|precision| format!("`{precision}`")).join(", ");
            Error::setting("precision", format!("one of {known}"), format!("`{name}`"))
        })
    }
}

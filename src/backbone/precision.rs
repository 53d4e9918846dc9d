use std::{fmt, str::FromStr};

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, FloatDType, Tensor},
};

use crate::error::{Error, Result};

/// What the towers of a backbone compute in.
///
/// Meant for GPUs that have units for it. Embeddings of f16 stay within a part in a hundred of those of f32; bf16
/// has three bits less and the range of f32.
///
/// | Name | Bits | Largest number | Digits |
/// | --- | ---: | ---: | ---: |
/// | `f32` (default) | 32 | 3.4e38 | 7 |
/// | `f16` | 16 | 65,504 | 3 |
/// | `bf16` | 16 | 3.4e38 | 2 |
///
/// # Examples
/// ```
/// use clip_adapter::backbone::Precision;
///
/// assert_eq!("bf16".parse::<Precision>()?, Precision::Bf16);
/// assert_eq!(Precision::default().to_string(), "f32");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 11 of them for the digits.
    F16,
    /// 16 bits, 8 of them for the digits, with the range of f32.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    fn dtype(self) -> FloatDType {
        match self {
            Self::F32 => FloatDType::F32,
            Self::F16 => FloatDType::F16,
            Self::Bf16 => FloatDType::BF16,
        }
    }

    /// Whether `device` stores it and calculates in it.
    pub fn is_supported(self, device: &Device) -> bool {
        device.supports_dtype(self.dtype())
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

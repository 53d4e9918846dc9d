//! Devices by name, so that a command line or a configuration file can choose where to compute.

use std::{fmt, str::FromStr};

use burn::tensor::Device;

use crate::{Error, Result};

/// A device by name: what the `--device` of every example takes.
///
/// | Name | Crate feature | Computes on |
/// | --- | --- | --- |
/// | `flex` | `flex` (default) | CPU, pure Rust |
/// | `ndarray` | `ndarray` | CPU, pure Rust, the older backend |
///
/// # Examples
/// ```
/// use clip_adapter::DeviceSpec;
///
/// let device = "flex".parse::<DeviceSpec>()?.init()?;
/// assert!(!device.is_autodiff());
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// Burn's portable CPU backend.
    Flex,
    /// Burn's older CPU backend.
    NdArray,
}

impl DeviceSpec {
    /// Every device this crate knows, compiled in or not.
    pub const KNOWN: [Self; 2] = [Self::Flex, Self::NdArray];

    /// The devices this build can open.
    pub fn compiled() -> Vec<Self> {
        Self::KNOWN.into_iter().filter(|spec| spec.is_compiled()).collect()
    }

    fn is_compiled(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::NdArray => cfg!(feature = "ndarray"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
        }
    }

    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::DeviceUnavailable`] when the crate was built without its feature.
    pub fn init(self) -> Result<Device> {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Ok(Device::flex()),
            #[cfg(feature = "ndarray")]
            #[allow(deprecated)]
            // Burn 0.22 deprecates the backend; this line is all that names it.
            Self::NdArray => Ok(Device::ndarray()),
            #[allow(unreachable_patterns)] // Reached when a feature is off.
            missing => Err(Error::DeviceUnavailable {
                device: missing.to_string(),
                reason: format!("build with the crate feature `{}`", missing.name()),
            }),
        }
    }
}

impl Default for DeviceSpec {
    /// The first device this build can open, [`Flex`](Self::Flex) where it is compiled in.
    fn default() -> Self {
        Self::compiled().first().copied().unwrap_or(Self::Flex)
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownDevice`] with the list of known names.
    fn from_str(name: &str) -> Result<Self> {
        Self::KNOWN.into_iter().find(|spec| spec.name() == name).ok_or_else(|| Error::UnknownDevice {
            found: name.to_owned(),
            expected: Self::KNOWN.map(|spec| format!("`{spec}`")).join(", "),
        })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! Devices by name, so that a command line or a configuration file can choose where to compute.

#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
mod graphics;
mod open;

use std::{fmt, str::FromStr};

use burn::tensor::Device;

use crate::error::{Error, Result};

/// A device by name: what the `--device` of every example takes.
///
/// | Name | Crate feature | Computes on |
/// | --- | --- | --- |
/// | `flex` | `flex` (default) | CPU, pure Rust |
/// | `ndarray` | `ndarray` | CPU, pure Rust, the older backend |
/// | `wgpu` | `wgpu` | a GPU of any vendor, on Vulkan, Metal or DirectX 12 |
/// | `vulkan` | `vulkan` | a GPU on Vulkan |
/// | `metal` | `metal` | an Apple GPU |
/// | `cuda`, `cuda:N` | `cuda` | an NVIDIA GPU, the first or the one of index N |
/// | `tch` | `tch` | CPU, LibTorch |
/// | `tch:cuda`, `tch:cuda:N` | `tch` | an NVIDIA GPU, LibTorch |
/// | `tch:mps` | `tch` | an Apple GPU, LibTorch |
///
/// `wgpu`, `vulkan` and `metal` take the best adapter there is, or the one that [`Gpu`] names: `wgpu:0`,
/// `wgpu:integrated:0`, `wgpu:cpu`. A name says nothing about this machine; [`open`](Self::open) does.
///
/// # Examples
/// ```
/// use clip_adapter::{DeviceSpec, Error};
///
/// let device = "flex".parse::<DeviceSpec>()?.open()?;
/// assert!(!device.is_autodiff());
///
/// let cards = "cuda:99".parse::<DeviceSpec>()?; // not compiled in, no driver, or not so many cards
/// assert!(matches!(cards.open(), Err(Error::DeviceUnavailable { device, .. }) if device == "cuda:99"));
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// Burn's portable CPU backend.
    Flex,
    /// Burn's older CPU backend.
    NdArray,
    /// A GPU through wgpu, on the graphics API that wgpu settles on.
    Wgpu(Gpu),
    /// A GPU through wgpu on Vulkan, and no other API.
    Vulkan(Gpu),
    /// A GPU through wgpu on Metal, and no other API.
    Metal(Gpu),
    /// The NVIDIA GPU of this index.
    Cuda(usize),
    /// PyTorch's C++ library.
    Tch(LibTorch),
}

/// Which of a machine's graphics adapters.
///
/// | Name after the API's | Adapter |
/// | --- | --- |
/// | none | the best there is |
/// | `:N` | the discrete GPU of index N |
/// | `:integrated`, `:integrated:N` | the integrated GPU of index N, 0 where none is given; so Apple's are called |
/// | `:virtual`, `:virtual:N` | the virtual machine's GPU of index N, 0 where none is given |
/// | `:cpu` | a driver that computes on the CPU, such as Mesa's lavapipe |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gpu {
    /// Whichever wgpu ranks first.
    #[default]
    Best,
    /// A card.
    Discrete(usize),
    /// Part of the processor.
    Integrated(usize),
    /// What a virtual machine passes through.
    Virtual(usize),
    /// Not a GPU but a driver that computes on the CPU.
    Software,
}

/// Where LibTorch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LibTorch {
    /// CPU.
    Cpu,
    /// The NVIDIA GPU of this index.
    Cuda(usize),
    /// Metal Performance Shaders, on Apple GPUs.
    Mps,
}

impl DeviceSpec {
    /// Every kind of device this crate knows, compiled in or not.
    pub const KNOWN: [Self; 9] = [
        Self::Flex,
        Self::NdArray,
        Self::Wgpu(Gpu::Best),
        Self::Vulkan(Gpu::Best),
        Self::Metal(Gpu::Best),
        Self::Cuda(0),
        Self::Tch(LibTorch::Cpu),
        Self::Tch(LibTorch::Cuda(0)),
        Self::Tch(LibTorch::Mps),
    ];

    /// The kinds of device this build can be asked for, whether or not this machine has one.
    pub fn compiled() -> Vec<Self> {
        Self::KNOWN.into_iter().filter(|spec| spec.is_compiled()).collect()
    }

    /// The devices that this build and this machine have: each graphics adapter and each card by its own name.
    ///
    /// It asks the drivers what there is and computes nothing; [`open`](Self::open) may still find that a driver
    /// does not work.
    ///
    /// # Examples
    /// ```
    /// use clip_adapter::DeviceSpec;
    ///
    /// assert!(DeviceSpec::available().contains(&DeviceSpec::Flex));
    /// ```
    pub fn available() -> Vec<Self> {
        Self::compiled().into_iter().flat_map(open::answering).collect()
    }

    fn is_compiled(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            Self::NdArray => cfg!(feature = "ndarray"),
            Self::Wgpu(_) => cfg!(feature = "wgpu"),
            Self::Vulkan(_) => cfg!(feature = "vulkan"),
            Self::Metal(_) => cfg!(feature = "metal"),
            Self::Cuda(_) => cfg!(feature = "cuda"),
            Self::Tch(_) => cfg!(feature = "tch"),
        }
    }

    /// The crate feature it needs, which is also the first part of its name.
    pub fn feature(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::NdArray => "ndarray",
            Self::Wgpu(_) => "wgpu",
            Self::Vulkan(_) => "vulkan",
            Self::Metal(_) => "metal",
            Self::Cuda(_) => "cuda",
            Self::Tch(_) => "tch",
        }
    }

    /// Opens the device. A GPU has computed one sum when this returns, so that a driver that does not work is
    /// found out here and not in the middle of a fit.
    ///
    /// # Errors
    /// [`Error::DeviceUnavailable`] when the crate was built without its feature, when no driver answers, when
    /// there are not so many of its kind, or when the driver fails; the reason says which.
    pub fn open(self) -> Result<Device> {
        if self.is_compiled() {
            open::open(self)
        } else {
            Err(self.unavailable(format!("build with the crate feature `{}`", self.feature())))
        }
    }

    fn unavailable(self, reason: impl Into<String>) -> Error {
        Error::DeviceUnavailable { device: self.to_string(), reason: reason.into() }
    }

    /// Reads what stands behind the first colon.
    fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = match name.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (name, None),
        };
        match (kind, rest) {
            ("flex", None) => Some(Self::Flex),
            ("ndarray", None) => Some(Self::NdArray),
            ("wgpu", rest) => Gpu::parse(rest).map(Self::Wgpu),
            ("vulkan", rest) => Gpu::parse(rest).map(Self::Vulkan),
            ("metal", rest) => Gpu::parse(rest).map(Self::Metal),
            ("cuda", rest) => index(rest).map(Self::Cuda),
            ("tch", None) => Some(Self::Tch(LibTorch::Cpu)),
            ("tch", Some("mps")) => Some(Self::Tch(LibTorch::Mps)),
            ("tch", Some(rest)) => {
                let card = rest.strip_prefix("cuda")?;
                let card = if card.is_empty() { None } else { Some(card.strip_prefix(':')?) };
                index(card).map(|index| Self::Tch(LibTorch::Cuda(index)))
            }
            _ => None,
        }
    }
}

impl Gpu {
    fn parse(rest: Option<&str>) -> Option<Self> {
        let Some(rest) = rest else { return Some(Self::Best) };
        match rest.split_once(':') {
            None if rest == "cpu" => Some(Self::Software),
            None if rest == "integrated" => Some(Self::Integrated(0)),
            None if rest == "virtual" => Some(Self::Virtual(0)),
            None => index(Some(rest)).map(Self::Discrete),
            Some(("integrated", rest)) => index(Some(rest)).map(Self::Integrated),
            Some(("virtual", rest)) => index(Some(rest)).map(Self::Virtual),
            Some(_) => None,
        }
    }
}

/// A number in digits alone, 0 where there is none.
fn index(digits: Option<&str>) -> Option<usize> {
    let Some(digits) = digits else { return Some(0) };
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

impl Default for DeviceSpec {
    /// [`Flex`](Self::Flex) where it is compiled in, else the first kind that is. Compiling in another one changes
    /// no program's device.
    fn default() -> Self {
        Self::compiled().first().copied().unwrap_or(Self::Flex)
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownDevice`] with the known names.
    fn from_str(name: &str) -> Result<Self> {
        Self::parse(name).ok_or_else(|| Error::UnknownDevice {
            found: name.to_owned(),
            expected: "`flex`, `ndarray`, `wgpu`, `vulkan`, `metal` (the last three also with `:N`, \
                       `:integrated:N`, `:virtual:N` or `:cpu`), `cuda:N`, `tch`, `tch:cuda:N`, `tch:mps`"
                .into(),
        })
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.feature();
        match self {
            Self::Flex | Self::NdArray | Self::Tch(LibTorch::Cpu) => f.pad(name),
            Self::Wgpu(gpu) | Self::Vulkan(gpu) | Self::Metal(gpu) => f.pad(&format!("{name}{gpu}")),
            Self::Cuda(index) => f.pad(&format!("{name}:{index}")),
            Self::Tch(LibTorch::Cuda(index)) => f.pad(&format!("{name}:cuda:{index}")),
            Self::Tch(LibTorch::Mps) => f.pad(&format!("{name}:mps")),
        }
    }
}

impl fmt::Display for Gpu {
    /// What stands behind the API's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => Ok(()),
            Self::Discrete(index) => write!(f, ":{index}"),
            Self::Integrated(index) => write!(f, ":integrated:{index}"),
            Self::Virtual(index) => write!(f, ":virtual:{index}"),
            Self::Software => f.write_str(":cpu"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let gpus =
            [Gpu::Best, Gpu::Discrete(3), Gpu::Integrated(1), Gpu::Virtual(0), Gpu::Software].into_iter();
        let gpus =
            gpus.flat_map(|gpu| [DeviceSpec::Wgpu(gpu), DeviceSpec::Vulkan(gpu), DeviceSpec::Metal(gpu)]);
        let cards = [DeviceSpec::Cuda(7), DeviceSpec::Tch(LibTorch::Cuda(2))];
        for spec in DeviceSpec::KNOWN.into_iter().chain(gpus).chain(cards) {
            assert_eq!(spec.to_string().parse::<DeviceSpec>().ok(), Some(spec), "{spec}");
        }
        assert_eq!("cuda".parse::<DeviceSpec>().ok(), Some(DeviceSpec::Cuda(0)));
        assert_eq!("wgpu:integrated".parse::<DeviceSpec>().ok(), Some(DeviceSpec::Wgpu(Gpu::Integrated(0))));
    }

    #[test]
    fn other_names_are_unknown() {
        for name in [
            "",
            "Flex",
            "flex:0",
            "ndarray:",
            "wgpu:",
            "wgpu:x",
            "wgpu:+1",
            "wgpu:-1",
            "wgpu:cpu:0",
            "cuda:",
            "cuda:0:1",
            "cuda:99999999999999999999",
            "tch:",
            "tch:cuda:",
            "tch:cuda0",
            "tch:cpu",
            "metal:best",
        ] {
            let found = name.parse::<DeviceSpec>();
            assert!(matches!(&found, Err(Error::UnknownDevice { found, .. }) if found == name), "{name}");
        }
    }
}

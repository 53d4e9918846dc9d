//! What is compiled in and answers. Every call of Burn's device constructors stands here or in `graphics`.

use burn::tensor::Device;

use super::DeviceSpec;
#[cfg(feature = "tch")]
use super::LibTorch;
use crate::error::Result;

/// The devices of this kind that this machine has.
pub(super) fn answering(kind: DeviceSpec) -> Vec<DeviceSpec> {
    match kind {
        #[cfg(feature = "wgpu")]
        DeviceSpec::Wgpu(_) => super::graphics::answering(DeviceSpec::Wgpu),
        #[cfg(feature = "vulkan")]
        DeviceSpec::Vulkan(_) => super::graphics::answering(DeviceSpec::Vulkan),
        #[cfg(feature = "metal")]
        DeviceSpec::Metal(_) => super::graphics::answering(DeviceSpec::Metal),
        #[cfg(feature = "cuda")]
        DeviceSpec::Cuda(_) => (0..cuda_cards()).map(DeviceSpec::Cuda).collect(),
        #[cfg(feature = "tch")]
        DeviceSpec::Tch(LibTorch::Cuda(_)) => {
            (0..libtorch_cards()).map(|index| DeviceSpec::Tch(LibTorch::Cuda(index))).collect()
        }
        #[cfg(feature = "tch")]
        DeviceSpec::Tch(LibTorch::Mps) if !cfg!(target_os = "macos") => Vec::new(),
        always => vec![always],
    }
}

/// Opens a device whose feature is compiled in.
pub(super) fn open(spec: DeviceSpec) -> Result<Device> {
    match spec {
        #[cfg(feature = "flex")]
        DeviceSpec::Flex => Ok(Device::flex()),
        #[cfg(feature = "ndarray")]
        #[allow(deprecated)] // Burn 0.22 deprecates the backend; this line is all that names it.
        DeviceSpec::NdArray => Ok(Device::ndarray()),
        #[cfg(feature = "wgpu")]
        DeviceSpec::Wgpu(gpu) => tried(spec, super::graphics::open(DeviceSpec::Wgpu, gpu)?),
        #[cfg(feature = "vulkan")]
        DeviceSpec::Vulkan(gpu) => tried(spec, super::graphics::open(DeviceSpec::Vulkan, gpu)?),
        #[cfg(feature = "metal")]
        DeviceSpec::Metal(gpu) => tried(spec, super::graphics::open(DeviceSpec::Metal, gpu)?),
        #[cfg(feature = "cuda")]
        DeviceSpec::Cuda(index) => {
            check_card(spec, index, cuda_cards())?;
            tried(spec, Device::cuda(index))
        }
        #[cfg(feature = "tch")]
        DeviceSpec::Tch(place) => libtorch(spec, place),
        #[allow(unreachable_patterns)] // Reached when a feature is off.
        missing => Err(missing.unavailable("not compiled in")),
    }
}

#[cfg(feature = "tch")]
#[allow(deprecated)] // Burn 0.22 deprecates the backend; this function is all that names it.
fn libtorch(spec: DeviceSpec, place: LibTorch) -> Result<Device> {
    match place {
        LibTorch::Cpu => Ok(Device::libtorch()),
        LibTorch::Cuda(index) => {
            check_card(spec, index, libtorch_cards())?;
            tried(spec, Device::libtorch_cuda(index))
        }
        LibTorch::Mps if !cfg!(target_os = "macos") => {
            Err(spec.unavailable("Metal Performance Shaders are part of macOS"))
        }
        LibTorch::Mps => tried(spec, Device::libtorch_mps()),
    }
}

/// Burn looks for the driver's library before it calls it, so that none found is none counted.
#[cfg(feature = "cuda")]
fn cuda_cards() -> usize {
    Device::enumerate(burn::tensor::DeviceType::Cuda).len()
}

/// What LibTorch counts are its CUDA devices: none where it was built for CPUs.
#[cfg(feature = "tch")]
fn libtorch_cards() -> usize {
    Device::enumerate(burn::tensor::DeviceType::LibTorch).len()
}

#[cfg(any(feature = "cuda", feature = "tch"))]
fn check_card(spec: DeviceSpec, index: usize, cards: usize) -> Result<()> {
    if index < cards {
        return Ok(());
    }
    let reason: String = match (cards, spec) {
        (0, DeviceSpec::Cuda(_)) => {
            "no CUDA driver library (libcuda.so.1, nvcuda.dll) was found, or it sees no NVIDIA GPU".into()
        }
        (0, _) => "LibTorch was built for CPUs, or its CUDA driver sees no NVIDIA GPU".into(),
        (1, _) => "there is one NVIDIA GPU, of index 0".into(),
        _ => format!("there are {cards} NVIDIA GPUs, of indices 0 to {}", cards - 1),
    };
    Err(spec.unavailable(reason))
}

/// Computes one sum on the device. A driver that fails panics somewhere inside Burn; on a thread of its own that
/// ends the thread, and its message becomes the error's.
#[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal", feature = "cuda", feature = "tch"))]
fn tried(spec: DeviceSpec, device: Device) -> Result<Device> {
    let probe = device.clone();
    let sum = move || burn::tensor::Tensor::<1>::ones([1], &probe).add_scalar(1.0).try_into_vec_as::<f32>();
    match std::thread::spawn(sum).join() {
        Ok(Ok(values)) if values == [2.0] => Ok(device),
        Ok(Ok(values)) => Err(spec.unavailable(format!("its driver computes 1 + 1 = {values:?}"))),
        Ok(Err(error)) => Err(spec.unavailable(format!("its driver failed: {error}"))),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(spec.unavailable(format!("its driver failed: {}", message.unwrap_or("it does not say why"))))
        }
    }
}

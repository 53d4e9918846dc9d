//! Adapters of the graphics APIs, through wgpu.

use burn::tensor::{
    Device, DeviceKind, DeviceType,
    wgpu::{WgpuBackend, WgpuInitError},
};

use super::{DeviceSpec, Gpu};
use crate::error::Result;

/// The adapters that one API finds, by name.
pub(super) fn answering(named: fn(Gpu) -> DeviceSpec) -> Vec<DeviceSpec> {
    let found = adapters(named(Gpu::Best));
    let kinds: [fn(usize) -> Gpu; 3] = [Gpu::Discrete, Gpu::Integrated, Gpu::Virtual];
    let numbered = kinds.into_iter().flat_map(|kind| (0..found.len()).map(kind));
    let known: Vec<DeviceSpec> = numbered
        .chain([Gpu::Software])
        .map(named)
        .filter(|&spec| found.contains(&device(spec)) && !crashes(spec, &found))
        .collect();
    let best = named(Gpu::Best);
    // An adapter of a kind without a name, as OpenGL's may be, is reached as the best one.
    if known.is_empty() && !found.is_empty() && !crashes(best, &found) { vec![best] } else { known }
}

/// Opens an adapter: what wgpu refuses is an error here, before anything is computed.
pub(super) fn open(named: fn(Gpu) -> DeviceSpec, gpu: Gpu) -> Result<Device> {
    let spec = named(gpu);
    let found = adapters(spec);
    if found.is_empty() {
        return Err(spec.unavailable(format!("no adapter was found; install a driver for {}", drivers(spec))));
    }
    if crashes(spec, &found) {
        return Err(spec.unavailable(
            "it computes on the CPU, and such drivers crash on what the crate feature `vulkan` compiles to; build \
             with `wgpu` alone",
        ));
    }
    if gpu != Gpu::Best && !found.contains(&device(spec)) {
        let mut names: Vec<String> = answering(named).iter().map(DeviceSpec::to_string).collect();
        if names.is_empty() {
            names.push("only one that computes on the CPU".into());
        }
        return Err(spec.unavailable(format!("there is no such adapter; found {}", names.join(", "))));
    }
    match Device::wgpu_options().device_kind(kind(spec)).graphics_api(api(spec)).init() {
        Ok(device) => Ok(device),
        // It has been opened before, here or on another thread.
        Err(WgpuInitError::Registration { .. }) => Ok(device(spec)),
        Err(error) => Err(spec.unavailable(error.to_string())),
    }
}

/// Whether opening it would end the process: with the feature `vulkan` every kernel is SPIR-V, on which Mesa's
/// lavapipe (22.3 and 25.0) crashes.
fn crashes(spec: DeviceSpec, found: &[Device]) -> bool {
    let software = device(of_kind(spec, Gpu::Software));
    cfg!(feature = "vulkan")
        && found.contains(&software)
        && (device(spec) == software
            || kind(spec) == DeviceKind::DefaultDevice && found.iter().all(|found| *found == software))
}

/// The same API's other adapter.
fn of_kind(spec: DeviceSpec, gpu: Gpu) -> DeviceSpec {
    match spec {
        DeviceSpec::Vulkan(_) => DeviceSpec::Vulkan(gpu),
        DeviceSpec::Metal(_) => DeviceSpec::Metal(gpu),
        _ => DeviceSpec::Wgpu(gpu),
    }
}

/// What the API lists. It opens nothing, and lists nothing where there is no driver.
fn adapters(spec: DeviceSpec) -> Vec<Device> {
    let list = match spec {
        #[cfg(feature = "vulkan")]
        DeviceSpec::Vulkan(_) => DeviceType::Vulkan,
        #[cfg(feature = "metal")]
        DeviceSpec::Metal(_) => DeviceType::Metal,
        _ => DeviceType::Wgpu,
    };
    Device::enumerate(list).into_vec()
}

/// The handle, which opens nothing until it is used.
fn device(spec: DeviceSpec) -> Device {
    match spec {
        #[cfg(feature = "vulkan")]
        DeviceSpec::Vulkan(_) => Device::vulkan(kind(spec)),
        #[cfg(feature = "metal")]
        DeviceSpec::Metal(_) => Device::metal(kind(spec)),
        _ => Device::wgpu(kind(spec)),
    }
}

fn api(spec: DeviceSpec) -> WgpuBackend {
    match spec {
        DeviceSpec::Vulkan(_) => WgpuBackend::Vulkan,
        DeviceSpec::Metal(_) => WgpuBackend::Metal,
        _ => WgpuBackend::Auto,
    }
}

fn drivers(spec: DeviceSpec) -> &'static str {
    match spec {
        DeviceSpec::Vulkan(_) => "Vulkan",
        DeviceSpec::Metal(_) => "Metal, which is part of macOS",
        _ => "Vulkan, Metal or DirectX 12",
    }
}

fn kind(spec: DeviceSpec) -> DeviceKind {
    match spec {
        DeviceSpec::Wgpu(gpu) | DeviceSpec::Vulkan(gpu) | DeviceSpec::Metal(gpu) => match gpu {
            Gpu::Best => DeviceKind::DefaultDevice,
            Gpu::Discrete(index) => DeviceKind::DiscreteGpu(index),
            Gpu::Integrated(index) => DeviceKind::IntegratedGpu(index),
            Gpu::Virtual(index) => DeviceKind::VirtualGpu(index),
            Gpu::Software => DeviceKind::Cpu,
        },
        _ => DeviceKind::DefaultDevice,
    }
}

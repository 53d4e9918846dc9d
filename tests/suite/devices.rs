//! What every device computes, against what Flex computes: one table, a line a check.
//!
//! `CLIP_ADAPTER_DEVICES` names the devices, such as `flex,wgpu,cuda:0`, and one that does not open fails. Without
//! it they are all the CPU backends that are compiled in.

mod checks;

use std::env;

use clip_adapter::{
    DeviceSpec, Error,
    device::{Gpu, LibTorch},
};

fn devices() -> Vec<DeviceSpec> {
    let Ok(names) = env::var("CLIP_ADAPTER_DEVICES") else {
        let on_cpu = [DeviceSpec::Flex, DeviceSpec::NdArray, DeviceSpec::Tch(LibTorch::Cpu)];
        return DeviceSpec::compiled().into_iter().filter(|spec| on_cpu.contains(spec)).collect();
    };
    let parsed = names.split(',').map(|name| name.trim().parse::<DeviceSpec>());
    parsed.collect::<Result<_, Error>>().unwrap_or_else(|error| panic!("CLIP_ADAPTER_DEVICES: {error}"))
}

#[test]
fn every_device_computes_what_flex_computes() {
    let mut failures = Vec::new();
    println!("{:<14}{:<48}{:>12}{:>10}", "device", "against flex", "difference", "at most");
    for spec in devices() {
        let device = spec.open().unwrap_or_else(|error| panic!("CLIP_ADAPTER_DEVICES: {error}"));
        checks::all(&device, &mut |what: &str, difference: f64, limit: f64| {
            let line = format!("{spec:<14}{what:<48}{difference:>12.1e}{limit:>10.0e}");
            println!("{line}");
            let passes = difference <= limit;
            if !passes {
                failures.push(line);
            }
        });
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn a_device_that_is_not_compiled_in_names_its_feature() {
    let compiled = DeviceSpec::compiled();
    for spec in DeviceSpec::KNOWN.into_iter().filter(|spec| !compiled.contains(spec)) {
        let error = spec.open().unwrap_err();
        let expected = format!("build with the crate feature `{}`", spec.feature());
        assert!(
            matches!(&error, Error::DeviceUnavailable { reason, .. } if *reason == expected),
            "{spec}: {error}"
        );
    }
}

#[test]
fn a_card_too_many_is_an_error_that_says_what_there_is() {
    for spec in [
        DeviceSpec::Wgpu(Gpu::Discrete(200)),
        DeviceSpec::Vulkan(Gpu::Integrated(200)),
        DeviceSpec::Metal(Gpu::Virtual(200)),
        DeviceSpec::Cuda(200),
        DeviceSpec::Tch(LibTorch::Cuda(200)),
    ] {
        let error = spec.open().unwrap_err();
        assert!(
            matches!(&error, Error::DeviceUnavailable { device, .. } if *device == spec.to_string()),
            "{spec}: {error}"
        );
        assert!(!DeviceSpec::available().contains(&spec));
    }
}

#[test]
fn what_is_available_is_compiled_in() {
    let compiled: Vec<&str> = DeviceSpec::compiled().into_iter().map(DeviceSpec::feature).collect();
    let available = DeviceSpec::available();
    for spec in &available {
        assert!(compiled.contains(&spec.feature()), "{spec}");
    }
    for spec in devices() {
        assert!(available.iter().any(|found| found.feature() == spec.feature()), "{spec} in {available:?}");
    }
}

/// Loaders read the environment when they start, hence another process.
#[test]
#[cfg(all(target_os = "linux", any(feature = "wgpu", feature = "vulkan")))]
fn without_a_driver_there_is_an_error_and_no_panic() {
    const CHILD: &str = "CLIP_ADAPTER_WITHOUT_A_DRIVER";
    if env::var_os(CHILD).is_some() {
        for spec in
            DeviceSpec::compiled().into_iter().filter(|spec| ["wgpu", "vulkan"].contains(&spec.feature()))
        {
            let error = spec.open().unwrap_err().to_string();
            assert!(error.contains("no adapter was found; install a driver for Vulkan"), "{error}");
            assert!(DeviceSpec::available().iter().all(|found| found.feature() != spec.feature()));
        }
        return;
    }
    let output = std::process::Command::new(env::current_exe().unwrap())
        .args(["--exact", "devices::without_a_driver_there_is_an_error_and_no_panic", "--nocapture"])
        .env(CHILD, "1")
        .env("VK_DRIVER_FILES", "/nowhere.json")
        .env("VK_ICD_FILENAMES", "/nowhere.json")
        .env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nowhere.json")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

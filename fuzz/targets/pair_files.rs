#![no_main]

#[path = "../../tests/suite/fuzz/checks.rs"]
#[allow(dead_code)] // each target has one check
mod checks;

// Without libFuzzer's hook, which ends the process at a panic that the crate catches; one that gets out still does.
libfuzzer_sys::fuzz_target!(init: drop(std::panic::take_hook()), |bytes: &[u8]| checks::pairs(bytes));

#![no_main]

#[path = "../../tests/suite/fuzz/checks.rs"]
#[allow(dead_code)] // each target has one check
mod checks;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::configuration(bytes));

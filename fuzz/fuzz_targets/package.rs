//! Fuzzes the reader of packages of compiled Edge TPU models.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taper_fuzz::targets::package(bytes));

//! Fuzzes the reader of files of weights.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taper_fuzz::targets::weights(bytes));

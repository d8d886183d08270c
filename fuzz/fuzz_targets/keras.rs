//! Fuzzes the reader of Keras's models.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| taper_fuzz::targets::keras(bytes));

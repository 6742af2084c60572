#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::made_bundle(data));

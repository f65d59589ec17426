//! Any bytes as the body of a request to the server.
#![no_main]

#[path = "../../crates/tritburn-server/tests/suite/parser/any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    any::requests(data);
});

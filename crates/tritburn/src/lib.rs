//! crates/tritburn

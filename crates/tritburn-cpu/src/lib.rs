//! crates/tritburn-cpu

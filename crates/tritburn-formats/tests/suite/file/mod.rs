//! Model files, and the bytes that their tests write.

mod escape;
mod gguf;
mod kinds;
mod lfs_pointer;
mod safetensors;
mod torch;

use tritburn_formats::file::TensorSpec;

/// Bytes for a tensor, which differ from tensor to tensor.
pub fn spec_bytes(spec: &TensorSpec) -> Vec<u8> {
    let len = spec.dtype.byte_len(&spec.shape).expect("a known type");
    (0..len)
        .map(|i| (i * 7 + spec.name.len() * 31) as u8)
        .collect()
}

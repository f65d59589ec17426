//! All tests of the public interface, in one executable: the dependencies are linked once.

mod affine;
mod codec;
mod common;
mod concat;
mod file;
mod fuzz_corpus;
mod header;
mod matrix;
mod quantize_activation;
mod quantize_weight;
mod recognize;
mod reference;
mod refine;
mod sum;
mod zero_scale;

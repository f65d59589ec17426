//! The operations of a language model around its products.

pub mod argmax;
pub mod attention;
pub mod dense;
pub mod embedding;
pub mod glu;
pub mod norm;
mod paging;
pub mod rotary;
pub mod stack;
pub mod step;

//! What stands around the products in a transformer.

mod attention;
mod head;
mod k_quant;
mod norm;
mod paging;
mod rotary;

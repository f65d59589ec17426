//! Gradients, the loss and the optimiser, against f64 and finite differences.

mod cross_entropy;
mod derivative;
mod embedding;
mod glu;
mod norm;
mod optimizer;
mod rotary;
mod statistics;

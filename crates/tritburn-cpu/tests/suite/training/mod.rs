//! Gradients, losses and the optimiser.

mod attention;
mod gelu;
mod rows;

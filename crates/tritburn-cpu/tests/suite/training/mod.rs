//! Gradients, losses and the optimiser.

mod attention;
mod rows;

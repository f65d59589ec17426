//! All tests of the public interface, in one executable: the dependencies are linked once.

mod affine;
mod common;
mod lm;
mod operands;
mod training;
mod w2a16;
mod w2a8;

//! What is told of weights with groups.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use tritburn_formats::AffineMatrix;

/// How the projections of a model are quantised, over all of them.
#[derive(Default, Serialize)]
pub struct Affine {
    /// Bits of a code.
    bits: BTreeSet<usize>,
    /// Inputs that share a scale; those of a row where all do.
    group_size: BTreeSet<usize>,
    /// Whether zero points are stored.
    zeros: bool,
    /// Whether 16 of 32 weights are stored.
    sparse: bool,
    /// Whether groups are of inputs in another order.
    act_order: bool,
}

impl Affine {
    pub fn add(&mut self, matrix: &AffineMatrix) {
        let layout = matrix.layout();
        self.bits.insert(layout.bits().count());
        self.group_size.insert(layout.span());
        self.zeros |= layout.has_zeros();
        self.sparse |= layout.is_sparse();
        self.act_order |= layout.is_permuted();
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |sizes: &BTreeSet<usize>| {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            sizes.join(", ")
        };
        let (bits, groups) = (all(&self.bits), all(&self.group_size));
        write!(f, "{bits} bits in groups of {groups}")?;
        for (told, what) in [
            (self.zeros, "zero points"),
            (self.sparse, "16:32 sparse"),
            (self.act_order, "act order"),
        ] {
            if told {
                write!(f, ", {what}")?;
            }
        }
        Ok(())
    }
}

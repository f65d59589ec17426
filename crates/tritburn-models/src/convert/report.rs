//! What a conversion did.

use std::path::PathBuf;

use tritburn_formats::quantize::affine::WeightReport;

use super::{Loss, Target};
use crate::checkpoint::Projection;

/// A finished conversion. Its result has been read back and every tensor compared with what was to
/// be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Where the result is.
    pub path: PathBuf,
    /// Its format.
    pub target: Target,
    /// Format of the source.
    pub source_format: &'static str,
    /// Projections written and compared.
    pub projections: usize,
    /// Norms written and compared.
    pub norms: usize,
    /// Embedding and head, written and compared.
    pub tables: usize,
    /// Bytes of all tensors in the source, 0 for a synthetic one.
    pub source_bytes: u64,
    /// Bytes of all tensors in the result.
    pub target_bytes: u64,
    /// What was lost, with leave.
    pub losses: Vec<Loss>,
    /// Whether a tokenizer went along.
    pub tokenizer: bool,
    /// What [`Options::weights`](super::Options::weights) did to each projection, in the model's order;
    /// empty without them.
    pub rounded: Vec<RoundedProjection>,
}

/// A projection that was rounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RoundedProjection {
    /// Its layer, from 0.
    pub layer: usize,
    /// Which one of the layer.
    pub projection: Projection,
    /// How far its weights are from the float ones.
    pub weights: WeightReport,
}

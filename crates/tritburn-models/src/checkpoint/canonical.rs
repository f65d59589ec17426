//! Affine projections in tritburn's own folder: the canonical layout with its header.

use std::collections::HashSet;

use tritburn_formats::affine::{AffineHeader, AffineLayout, AffineMatrix, AffineParts};
use tritburn_formats::file::{DType, TensorSource};

use super::affine::floats;
use super::source::{FLOATS, Tensors};
use super::tritburn::PackedNames;
use super::{CheckpointError, Projection};
use crate::config::DecoderConfig;

const WORDS: [DType; 1] = [DType::U32];

/// Reads all headers, and checks names, shapes and types of what they describe; the names.
pub(super) fn check<S: TensorSource>(
    tensors: &Tensors<S>,
    config: &DecoderConfig,
) -> Result<HashSet<String>, CheckpointError> {
    let mut known = HashSet::new();
    for (layer, projection) in config.projections() {
        let names = PackedNames::new(layer, projection);
        let layout = layout(tensors, config, &names, projection)?;
        let shapes = AffineShapes::new(&layout);
        tensors.expect(&names.codes, &shapes.codes, &WORDS)?;
        tensors.expect(&names.scales, &shapes.groups, &FLOATS)?;
        if layout.has_zeros() {
            tensors.expect(&names.zeros, &shapes.groups, &FLOATS)?;
            known.insert(names.zeros);
        }
        if layout.is_sparse() {
            tensors.expect(&names.mask, &shapes.mask, &WORDS)?;
            known.insert(names.mask);
        }
        if layout.is_permuted() {
            tensors.expect(&names.order, &shapes.order, &WORDS)?;
            known.insert(names.order);
        }
        known.extend([names.codes, names.scales, names.header]);
    }
    Ok(known)
}

/// The weights of a projection. What is wrong with their values is told of the codes, by row and group.
pub(super) fn read<S: TensorSource>(
    tensors: &Tensors<S>,
    config: &DecoderConfig,
    layer: usize,
    projection: Projection,
) -> Result<AffineMatrix, CheckpointError> {
    let names = PackedNames::new(layer, projection);
    let layout = layout(tensors, config, &names, projection)?;
    let shapes = AffineShapes::new(&layout);
    let words = |wanted: bool, name: &str, shape: &[usize]| {
        let words = wanted.then(|| tensors.words(name, shape, &WORDS));
        words.transpose()
    };
    let groups =
        |name: &str| Ok::<_, CheckpointError>(floats(&tensors.floats(name, &shapes.groups)?));
    AffineMatrix::new(AffineParts {
        words: tensors.words(&names.codes, &shapes.codes, &WORDS)?,
        mask: words(layout.is_sparse(), &names.mask, &shapes.mask)?.unwrap_or_default(),
        scales: groups(&names.scales)?,
        zeros: layout
            .has_zeros()
            .then(|| groups(&names.zeros))
            .transpose()?,
        order: words(layout.is_permuted(), &names.order, &shapes.order)?,
        layout,
    })
    .map_err(CheckpointError::pack(&names.codes))
}

/// Shapes of a matrix's tensors.
pub(crate) struct AffineShapes {
    pub codes: [usize; 2],
    /// Of scales, and of zero points.
    pub groups: [usize; 2],
    pub header: [usize; 1],
    pub mask: [usize; 2],
    pub order: [usize; 1],
}

impl AffineShapes {
    pub fn new(layout: &AffineLayout) -> Self {
        let out = layout.out_features();
        Self {
            codes: [out, layout.words_per_row()],
            groups: [out, layout.groups_per_row()],
            header: [AffineHeader::WORDS],
            mask: [out, layout.units_per_row()],
            order: [layout.in_features()],
        }
    }
}

/// What the header of a projection says.
fn layout<S: TensorSource>(
    tensors: &Tensors<S>,
    config: &DecoderConfig,
    names: &PackedNames,
    projection: Projection,
) -> Result<AffineLayout, CheckpointError> {
    let stored = tensors.typed(&names.header, &WORDS)?.shape.clone();
    let words = tensors.words(&names.header, &stored, &WORDS)?;
    let header = AffineHeader::from_words(&words).map_err(|source| CheckpointError::Header {
        tensor: names.header.clone(),
        source,
    })?;
    let layout = header.layout().clone();
    let found = [layout.out_features(), layout.in_features()];
    let expected = config.projection_shape(projection);
    match found == expected {
        true => Ok(layout),
        false => Err(CheckpointError::Shape {
            path: tensors.path().to_path_buf(),
            tensor: names.header.clone(),
            found: found.to_vec(),
            expected: expected.to_vec(),
        }),
    }
}

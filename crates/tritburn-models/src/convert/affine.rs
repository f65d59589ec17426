//! Affine weights in tritburn's own folder, and float models rounded to them.

use std::collections::{BTreeMap, btree_map::Entry};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use tritburn_formats::affine::{AffineLayout, AffineMatrix, FloatType as StoredType, Floats};
use tritburn_formats::file::{DType, TensorSpec};
use tritburn_formats::quantize::affine::{AffineQuantizer, WeightReport, weight_report};

use super::output::Stored;
use super::{ConvertError, RoundedProjection, Target};
use crate::checkpoint::tritburn::PackedNames;
use crate::checkpoint::{
    AffineShapes, Checkpoint, CheckpointError, FloatTensorData, FloatType, Norm, Projection, Table,
    Weight, hf_names,
};
use crate::config::{AffineStorage, DecoderConfig, Quantization};
use crate::text::TokenizerFiles;

/// The layout of a projection that is quantised.
fn layout(
    quantizer: &AffineQuantizer,
    config: &DecoderConfig,
    layer: usize,
    projection: Projection,
) -> Result<AffineLayout, CheckpointError> {
    let layout = quantizer.layout(config.projection_shape(projection));
    let name = hf_names::projection(layer, projection);
    layout.map_err(|source| CheckpointError::pack(&name)(source.into()))
}

/// The tensors that a projection will be, before it is quantised.
pub(super) fn planned(
    quantizer: &AffineQuantizer,
    config: &DecoderConfig,
    layer: usize,
    projection: Projection,
) -> Result<Vec<TensorSpec>, ConvertError> {
    let layout = self::layout(quantizer, config, layer, projection)?;
    Ok(specs(layer, projection, &layout))
}

/// The tensors of a matrix: codes, scales, header, then what else the layout has.
fn specs(layer: usize, projection: Projection, layout: &AffineLayout) -> Vec<TensorSpec> {
    let names = PackedNames::new(layer, projection);
    let shapes = AffineShapes::new(layout);
    let float = match layout.floats() {
        StoredType::F32 => DType::F32,
        StoredType::F16 => DType::F16,
        StoredType::Bf16 => DType::BF16,
    };
    let mut specs = vec![
        TensorSpec::new(names.codes, DType::U32, shapes.codes),
        TensorSpec::new(names.scales, float, shapes.groups),
        TensorSpec::new(names.header, DType::U32, shapes.header),
    ];
    if layout.has_zeros() {
        specs.push(TensorSpec::new(names.zeros, float, shapes.groups));
    }
    if layout.is_sparse() {
        specs.push(TensorSpec::new(names.mask, DType::U32, shapes.mask));
    }
    if layout.is_permuted() {
        specs.push(TensorSpec::new(names.order, DType::U32, shapes.order));
    }
    specs
}

/// A matrix as tensors.
pub(super) fn tensors(layer: usize, projection: Projection, matrix: &AffineMatrix) -> Vec<Stored> {
    let words = |words: &[u32]| bytemuck::cast_slice(words).to_vec();
    let mut parts = vec![
        words(matrix.words()),
        bytes(matrix.scales()),
        words(&matrix.header().to_words()),
    ];
    parts.extend(matrix.zeros().map(bytes));
    parts.extend(matrix.layout().is_sparse().then(|| words(matrix.mask())));
    parts.extend(matrix.order().map(words));
    let specs = specs(layer, projection, matrix.layout()).into_iter();
    let stored = specs.zip(parts);
    stored.map(|(spec, bytes)| Stored { spec, bytes }).collect()
}

fn bytes(floats: &Floats) -> Vec<u8> {
    match floats {
        Floats::F32(values) => bytemuck::cast_slice(values).to_vec(),
        Floats::F16(values) => bytemuck::cast_slice(values).to_vec(),
        Floats::Bf16(values) => bytemuck::cast_slice(values).to_vec(),
    }
}

/// A float model whose projections are rounded when they are read.
pub(super) struct Quantized<'a> {
    source: &'a dyn Checkpoint,
    config: DecoderConfig,
    quantizer: AffineQuantizer,
    /// What rounding did to the projections that have been read, by layer.
    reports: Mutex<BTreeMap<(usize, Projection), WeightReport>>,
}

impl<'a> Quantized<'a> {
    /// # Errors
    /// [`ConvertError::Model`] for a target other than [`Target::Tritburn`], and for a model whose
    /// projections are no plain floats.
    pub fn new(
        source: &'a dyn Checkpoint,
        target: Target,
        quantizer: AffineQuantizer,
    ) -> Result<Self, ConvertError> {
        let refuse = |reason: &str| ConvertError::Model {
            target: target.name(),
            reason: reason.to_string(),
        };
        if target != Target::Tritburn {
            return Err(refuse("weights of 2 to 4 bits with groups go to tritburn"));
        }
        if source.quantization() != Quantization::Dense {
            return Err(refuse("only plain float weights are rounded to groups"));
        }
        let config = DecoderConfig {
            quantization: Quantization::Affine(AffineStorage::Canonical),
            ..source.config().clone()
        };
        Ok(Self {
            source,
            config,
            quantizer,
            reports: Mutex::default(),
        })
    }

    /// What rounding did to the projections, in the model's order.
    pub fn rounded(&self) -> Vec<RoundedProjection> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let rounded = reports
            .iter()
            .map(|(&(layer, projection), &weights)| RoundedProjection {
                layer,
                projection,
                weights,
            });
        rounded.collect()
    }
}

impl Checkpoint for Quantized<'_> {
    fn format(&self) -> &'static str {
        self.source.format()
    }

    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn stored_bytes(&self) -> u64 {
        self.source.stored_bytes()
    }

    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError> {
        self.source.norm(norm)
    }

    fn bias(
        &self,
        layer: usize,
        projection: Projection,
    ) -> Result<Option<Vec<f32>>, CheckpointError> {
        self.source.bias(layer, projection)
    }

    fn table_type(&self, table: Table) -> FloatType {
        self.source.table_type(table)
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        self.source.table_rows(table, rows)
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        let data = match self.source.projection(layer, projection)? {
            Weight::Master(data) => data,
            packed => return Ok(packed),
        };
        let name = hf_names::projection(layer, projection);
        let shape = self.config.projection_shape(projection);
        let weights = data.to_f32();
        let matrix = self.quantizer.quantize(&weights, shape);
        let matrix = matrix.map_err(CheckpointError::pack(&name))?;
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(entry) = reports.entry((layer, projection)) {
            let report = weight_report(&weights, &matrix);
            entry.insert(report.map_err(CheckpointError::pack(&name))?);
        }
        Ok(Weight::Affine(matrix))
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        self.source.tokenizer()
    }
}

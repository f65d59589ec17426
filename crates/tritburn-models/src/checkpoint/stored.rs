//! What all checkpoints in files have in common.

use std::collections::HashSet;
use std::ops::Range;

use tritburn_formats::codec::gguf::k_quant::KQuantMatrix;
use tritburn_formats::file::{DType, TensorSource};
use tritburn_formats::{MatrixError, PackedLayout, PackedMatrix, ScaleGranularity};

use super::source::{FLOATS, Tensors, check_layer};
use super::{Checkpoint, CheckpointError, FloatTensorData, FloatType};
use super::{Norm, Projection, Table, Weight, hf_names};
use crate::config::DecoderConfig;
use crate::text::TokenizerFiles;

/// How a format calls its tensors, and how it stores projections.
///
/// Norms and biases are float tensors in every format.
pub(super) trait Format: Send + Sync + Sized {
    /// The kind of file.
    type File: TensorSource;

    /// Whether a head may be stored although it is the embedding. It is not read then, unless it differs.
    const REPEATS_TIED_HEAD: bool;

    /// Types of tables that can be read.
    const TABLE_TYPES: &'static [DType] = &FLOATS;

    /// Names that a norm's tensor may have, the usual one first.
    fn norm(norm: Norm, config: &DecoderConfig) -> Vec<String>;

    /// What the format leaves out of the gains of a norm.
    fn gain_offset(norm: Norm, config: &DecoderConfig) -> f32 {
        let _ = (norm, config);
        0.0
    }

    /// Name of the bias of a projection.
    fn bias(layer: usize, projection: Projection) -> String;

    /// Name of a table's tensor.
    fn table(table: Table) -> &'static str;

    /// [`Checkpoint::format`].
    fn name(file: &Stored<Self>) -> &'static str;

    /// Checks names, shapes and types of all projections, and of what else the format has; their
    /// names.
    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError>;

    /// [`Checkpoint::projection`] of a layer that is there.
    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError>;

    /// [`Checkpoint::bias`] of a projection that has one.
    fn bias_values(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Vec<f32>, CheckpointError> {
        let size = file.config.projection_shape(projection)[0];
        let name = Self::bias(layer, projection);
        Ok(file.tensors.floats(&name, &[size])?.to_f32())
    }

    /// [`Checkpoint::table_rows`].
    fn table_rows(
        file: &Stored<Self>,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        file.tensors
            .rows(Self::table(table), file.table_shape(), rows)
    }

    /// [`Checkpoint::table_blocks`] of a table that is there.
    fn table_blocks(
        file: &Stored<Self>,
        table: Table,
    ) -> Result<Option<KQuantMatrix>, CheckpointError> {
        let _ = (file, table);
        Ok(None)
    }

    /// [`Checkpoint::tokenizer`].
    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError>;
}

/// A checkpoint in a file, or several, of format `F`.
pub(super) struct Stored<F: Format> {
    pub tensors: Tensors<F::File>,
    pub config: DecoderConfig,
    pub format: F,
}

impl<F: Format> Stored<F> {
    /// A checkpoint whose tensors are exactly those that `config` asks for.
    pub fn new(
        tensors: Tensors<F::File>,
        config: DecoderConfig,
        format: F,
    ) -> Result<Self, CheckpointError> {
        let mut this = Self {
            tensors,
            config,
            format,
        };
        if this.has_other_head()? {
            tracing::warn!(
                "{}: {} is not the embedding, although the configuration ties them: it is the output \
                 head, as in transformers; `tie_word_embeddings` should be false",
                this.tensors.path().display(),
                F::table(Table::Head)
            );
            this.config.tie_word_embeddings = false;
        }
        let (config, tensors) = (&this.config, &this.tensors);
        let mut known = HashSet::new();
        for norm in config.norms() {
            let name = this.norm_name(norm);
            tensors.expect(&name, &[config.norm_size(norm)], &FLOATS)?;
            known.insert(name);
        }
        for (layer, projection) in config.biased() {
            let name = F::bias(layer, projection);
            let size = config.projection_shape(projection)[0];
            tensors.expect(&name, &[size], &FLOATS)?;
            known.insert(name);
        }
        for &table in config.tables() {
            tensors.expect(F::table(table), &this.table_shape(), F::TABLE_TYPES)?;
            known.insert(F::table(table).to_string());
        }
        if F::REPEATS_TIED_HEAD {
            known.insert(F::table(Table::Head).to_string());
        }
        known.extend(F::check(&this)?);
        tensors.refuse_others(&known)?;
        Ok(this)
    }

    /// Whether there is a head that a tied model would not read, with other values than the embedding.
    fn has_other_head(&self) -> Result<bool, CheckpointError> {
        let tables = [Table::Embedding, Table::Head].map(F::table);
        let stored = |name: &&str| self.tensors.0.info(name).is_some();
        if !F::REPEATS_TIED_HEAD || !self.config.tie_word_embeddings || !tables.iter().all(stored) {
            return Ok(false);
        }
        Ok(!self.tensors.same_rows(tables, self.table_shape())?)
    }

    pub fn table_shape(&self) -> [usize; 2] {
        [self.config.vocab_size, self.config.hidden_size]
    }

    /// The name that a norm has in this file.
    fn norm_name(&self, norm: Norm) -> String {
        let mut names = F::norm(norm, &self.config);
        let found = names
            .iter()
            .position(|name| self.tensors.0.info(name).is_some());
        names.swap_remove(found.unwrap_or(0))
    }
}

impl<F: Format> Checkpoint for Stored<F> {
    fn format(&self) -> &'static str {
        F::name(self)
    }

    fn config(&self) -> &DecoderConfig {
        &self.config
    }

    fn stored_bytes(&self) -> u64 {
        self.tensors.stored_bytes()
    }

    fn norm(&self, norm: Norm) -> Result<Vec<f32>, CheckpointError> {
        let size = self.config.norm_size(norm);
        let stored = self.tensors.floats(&self.norm_name(norm), &[size])?;
        let offset = F::gain_offset(norm, &self.config);
        Ok(stored
            .to_f32()
            .into_iter()
            .map(|gain| gain + offset)
            .collect())
    }

    fn bias(
        &self,
        layer: usize,
        projection: Projection,
    ) -> Result<Option<Vec<f32>>, CheckpointError> {
        check_layer(layer, self.config.num_hidden_layers)?;
        let bias = self.config.has_bias(projection);
        bias.then(|| F::bias_values(self, layer, projection))
            .transpose()
    }

    fn table_type(&self, table: Table) -> FloatType {
        self.tensors.float_type(F::table(table))
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        F::table_rows(self, table, rows)
    }

    fn table_blocks(&self, table: Table) -> Result<Option<KQuantMatrix>, CheckpointError> {
        F::table_blocks(self, table)
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        check_layer(layer, self.config.num_hidden_layers)?;
        match F::projection(self, layer, projection)? {
            Weight::Packed(matrix) => usable(matrix, layer, projection).map(Weight::Packed),
            master => Ok(master),
        }
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        F::tokenizer(self)
    }
}

/// The matrix with positive scales: files have 0 where all weights are 0. Others are refused.
fn usable(
    matrix: PackedMatrix,
    layer: usize,
    projection: Projection,
) -> Result<PackedMatrix, CheckpointError> {
    let name = || hf_names::projection(layer, projection);
    let matrix = match matrix.scales().contains(&0.0) {
        false => matrix,
        true => matrix
            .without_zero_scales()
            .map_err(CheckpointError::pack(&name()))?,
    };
    let wrong = |&(_, &scale): &(usize, &f32)| !(scale > 0.0 && scale.is_finite());
    match matrix.scales().iter().enumerate().find(wrong) {
        None => Ok(one_scale(matrix)),
        Some((index, &value)) => Err(CheckpointError::Scale {
            tensor: name(),
            index,
            value,
        }),
    }
}

/// The matrix with one scale, if all it has are the same.
pub(crate) fn one_scale(matrix: PackedMatrix) -> PackedMatrix {
    let scales = matrix.scales();
    if *matrix.layout().scale() == ScaleGranularity::Tensor
        || scales.iter().any(|s| s.to_bits() != scales[0].to_bits())
    {
        return matrix;
    }
    let (layout, words, scales) = matrix.clone().into_parts();
    let (out, input) = (layout.out_features(), layout.in_features());
    let single = PackedLayout::new(out, input, layout.code(), ScaleGranularity::Tensor)
        .map_err(MatrixError::from)
        .and_then(|layout| PackedMatrix::new(layout, words, vec![scales[0]]));
    single.unwrap_or(matrix)
}

//! What all checkpoints in files have in common.

use std::collections::HashSet;
use std::ops::Range;

use tritburn_formats::file::TensorSource;

use super::source::{FLOATS, Tensors, check_layer};
use super::{Checkpoint, CheckpointError, FloatTensorData, FloatType};
use super::{Norm, Projection, Table, Weight};
use crate::config::DecoderConfig;
use crate::text::TokenizerFiles;

/// How a format calls its tensors, and how it stores projections.
///
/// Norms and tables are float tensors in every format.
pub(super) trait Format: Send + Sync + Sized {
    /// The kind of file.
    type File: TensorSource;

    /// Whether a head may be stored although it is the embedding. It is not read then.
    const REPEATS_TIED_HEAD: bool;

    /// Name of a norm's tensor.
    fn norm(norm: Norm) -> String;

    /// Name of a table's tensor.
    fn table(table: Table) -> &'static str;

    /// [`Checkpoint::format`].
    fn name(file: &Stored<Self>) -> &'static str;

    /// Checks names, shapes and types of all projections; their names.
    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError>;

    /// [`Checkpoint::projection`] of a layer that is there.
    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError>;

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
        let this = Self {
            tensors,
            config,
            format,
        };
        let (config, tensors) = (&this.config, &this.tensors);
        let mut known = HashSet::new();
        for norm in config.norms() {
            let name = F::norm(norm);
            tensors.expect(&name, &[config.norm_size(norm)], &FLOATS)?;
            known.insert(name);
        }
        for &table in config.tables() {
            tensors.expect(F::table(table), &this.table_shape(), &FLOATS)?;
            known.insert(F::table(table).to_string());
        }
        if F::REPEATS_TIED_HEAD {
            known.insert(F::table(Table::Head).to_string());
        }
        known.extend(F::check(&this)?);
        tensors.refuse_others(&known)?;
        Ok(this)
    }

    fn table_shape(&self) -> [usize; 2] {
        [self.config.vocab_size, self.config.hidden_size]
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
        Ok(self.tensors.floats(&F::norm(norm), &[size])?.to_f32())
    }

    fn table_type(&self, table: Table) -> FloatType {
        self.tensors.float_type(F::table(table))
    }

    fn table_rows(
        &self,
        table: Table,
        rows: Range<usize>,
    ) -> Result<FloatTensorData, CheckpointError> {
        let name = F::table(table);
        self.tensors.rows(name, self.table_shape(), rows)
    }

    fn projection(&self, layer: usize, projection: Projection) -> Result<Weight, CheckpointError> {
        check_layer(layer, self.config.num_hidden_layers)?;
        F::projection(self, layer, projection)
    }

    fn tokenizer(&self) -> Result<TokenizerFiles, CheckpointError> {
        F::tokenizer(self)
    }
}

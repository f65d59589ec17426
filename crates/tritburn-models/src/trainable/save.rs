//! From a model in memory to a folder that everything else runs.

use std::path::Path;

use super::error::TrainableError;
use super::model::TrainableModel;
use crate::checkpoint::FloatType;
use crate::convert::{Options, Report, TableType, Target, convert};
use crate::text::TokenizerFiles;

/// What a saved folder holds.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// Type of the float weights and tables.
    pub dtype: SavedType,
    /// The files of the tokenizer; all may be absent.
    pub tokenizer: TokenizerFiles,
    /// Whether the folder takes the place of an earlier one, which holds a model and nothing else.
    pub replace: bool,
}

/// Type of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SavedType {
    /// As they are trained: training goes on from them, and logits stay the same.
    #[default]
    F32,
    /// Half the bytes, each weight rounded: scales move by rounding, and codes that stood at an edge
    /// may change.
    BF16,
}

impl TrainableModel {
    /// Writes the model as a Hugging Face folder: `config.json`, float weights under the names of
    /// transformers (`quantization_mode: online`, or a plain float model for the float twin), the
    /// tokenizer. `tritburn generate`, `convert` and `inspect` take it as it is.
    ///
    /// The folder appears under its name when all of it is written and has been read back; an earlier
    /// one stays until then, and for good if anything fails.
    ///
    /// # Errors
    /// [`TrainableError::PackedModel`]; [`TrainableError::Save`] for what [`convert`] refuses: a folder that
    /// is there, weights that are no numbers, a disk that is full.
    pub fn save(
        &self,
        folder: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<Report, TrainableError> {
        let (target, table, allow_lossy) = match options.dtype {
            SavedType::F32 => (Target::F32, FloatType::F32, false),
            SavedType::BF16 => (Target::Bf16, FloatType::BF16, true),
        };
        let checkpoint = self.as_checkpoint(&options.tokenizer)?;
        let options = Options {
            allow_lossy,
            force: options.replace,
            table_type: TableType::Of(table),
            ..Options::default()
        };
        Ok(convert(&checkpoint, folder, target, &options, &mut |_| {})?)
    }
}

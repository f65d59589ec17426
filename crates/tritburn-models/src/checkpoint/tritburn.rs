//! tritburn's own folder of a model: what every other format can be read into without loss.
//!
//! * `config.json`: as Hugging Face's, with `quantization_config.quant_method` `"tritburn"`.
//! * `model.safetensors`, with `tritburn_model: "1"` in its metadata. Names are those of Hugging
//!   Face; of a projection `P` there are `P.codes` U32 `[out, ceil(in / 16)]` (the canonical
//!   layout), `P.scales` F32 `[scales]` and `P.header` U32, a
//!   [`PackedHeader`]. Norms are F32, tables keep their type.
//! * The files of the tokenizer, as they were.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tritburn_formats::file::{DType, Safetensors};
use tritburn_formats::{PackedHeader, PackedMatrix};

use super::hf::names;
use super::source::Tensors;
use super::stored::{Format, Stored};
use super::{CheckpointError, Norm, Projection, Table, Weight};
use crate::config::DecoderConfig;
use crate::text::TokenizerFiles;

/// Key in the metadata of the safetensors file.
pub(crate) const VERSION_KEY: &str = "tritburn_model";
/// Version of the format that is written and read.
pub(crate) const VERSION: &str = "1";

/// A folder, with the files of the tokenizer.
pub(super) struct Tritburn {
    folder: PathBuf,
}

/// Names of a projection's tensors.
pub(crate) struct PackedNames {
    pub codes: String,
    pub scales: String,
    pub header: String,
}

impl PackedNames {
    pub fn new(layer: usize, projection: Projection) -> Self {
        let name = names::projection(layer, projection);
        Self {
            codes: format!("{name}.codes"),
            scales: format!("{name}.scales"),
            header: format!("{name}.header"),
        }
    }
}

impl Stored<Tritburn> {
    pub fn open(
        folder: &Path,
        tensors: Safetensors,
        config: DecoderConfig,
    ) -> Result<Self, CheckpointError> {
        let version = tensors.metadata().get(VERSION_KEY);
        if version.map(String::as_str) != Some(VERSION) {
            return Err(CheckpointError::Version {
                path: folder.to_path_buf(),
                found: version.cloned().unwrap_or_default(),
                supported: VERSION,
            });
        }
        let folder = folder.to_path_buf();
        Self::new(Tensors(tensors), config, Tritburn { folder })
    }
}

impl Format for Tritburn {
    type File = Safetensors;

    const REPEATS_TIED_HEAD: bool = false;

    fn norm(norm: Norm, config: &DecoderConfig) -> Vec<String> {
        vec![names::norm(norm, config)]
    }

    fn bias(layer: usize, projection: Projection) -> String {
        names::bias(layer, projection)
    }

    fn table(table: Table) -> &'static str {
        names::table(table)
    }

    fn name(_: &Stored<Self>) -> &'static str {
        "tritburn"
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let (config, tensors) = (&file.config, &file.tensors);
        let mut known = HashSet::new();
        for (layer, projection) in config.projections() {
            let names = PackedNames::new(layer, projection);
            let [out, input] = config.projection_shape(projection);
            tensors.expect(&names.codes, &[out, input.div_ceil(16)], &[DType::U32])?;
            tensors.typed(&names.scales, &[DType::F32])?;
            tensors.typed(&names.header, &[DType::U32])?;
            known.extend([names.codes, names.scales, names.header]);
        }
        Ok(known)
    }

    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let names = PackedNames::new(layer, projection);
        let shape @ [out, input] = file.config.projection_shape(projection);
        let words = |name: &str, dtype: DType| -> Result<Vec<u32>, CheckpointError> {
            let shape = file.tensors.typed(name, &[dtype])?.shape.clone();
            let bytes = file.tensors.bytes(name, &shape, &[dtype])?;
            Ok(bytes_to_words(&bytes))
        };
        let header = PackedHeader::from_words(&words(&names.header, DType::U32)?);
        let header = header.map_err(|source| CheckpointError::Header {
            tensor: names.header.clone(),
            source,
        })?;
        let layout = header.layout().clone();
        let found = [layout.out_features(), layout.in_features()];
        if found != shape {
            return Err(CheckpointError::Shape {
                path: file.format.folder.clone(),
                tensor: names.header,
                found: found.to_vec(),
                expected: shape.to_vec(),
            });
        }
        let codes_shape = [out, input.div_ceil(16)];
        let codes = file
            .tensors
            .bytes(&names.codes, &codes_shape, &[DType::U32])?;
        let scales = words(&names.scales, DType::F32)?
            .into_iter()
            .map(f32::from_bits);
        let matrix = PackedMatrix::new(layout, bytes_to_words(&codes), scales.collect());
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::pack(&names.codes))?,
        ))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_folder(&file.format.folder)?)
    }
}

fn bytes_to_words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

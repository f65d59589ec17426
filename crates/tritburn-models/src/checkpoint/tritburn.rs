//! tritburn's own folder of a model: what every other format can be read into without loss.
//!
//! * `config.json`: as Hugging Face's, with `quantization_config.quant_method` `"tritburn"`.
//! * `model.safetensors`, with `tritburn_model: "1"` in its metadata. Names are those of Hugging
//!   Face; of a projection `P` there are `P.codes` U32 `[out, ceil(in / 16)]` (the canonical
//!   layout), `P.scales` F32 `[scales]` and `P.header` U32, a
//!   [`PackedHeader`]. Norms are F32, tables keep their type.
//! * With `quantization_config.weights` `"affine"` projections have 2, 3 or 4 bits and groups: `P.codes`
//!   U32 `[out, words]`, `P.scales` `[out, groups]` of a float type and `P.header` U32, an
//!   [`AffineHeader`]; where the header says so `P.zeros` as the scales, `P.mask` U32 `[out, in / 32]`
//!   and `P.order` U32 `[in]` (see [`tritburn_formats::affine`]).
//! * The files of the tokenizer, as they were.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

#[cfg(doc)]
use tritburn_formats::affine::AffineHeader;
use tritburn_formats::file::{DType, Safetensors};
use tritburn_formats::{PackedHeader, PackedMatrix};

use super::canonical;
use super::hf::names;
use super::source::Tensors;
use super::stored::{Format, Stored};
use super::{CheckpointError, Norm, Projection, Table, Weight};
use crate::config::{DecoderConfig, Quantization};
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
    /// Of affine weights.
    pub zeros: String,
    pub mask: String,
    pub order: String,
}

impl PackedNames {
    pub fn new(layer: usize, projection: Projection) -> Self {
        let name = names::projection(layer, projection);
        let of = |part| format!("{name}.{part}");
        Self {
            codes: of("codes"),
            scales: of("scales"),
            header: of("header"),
            zeros: of("zeros"),
            mask: of("mask"),
            order: of("order"),
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

    fn name(file: &Stored<Self>) -> &'static str {
        match file.config.quantization {
            Quantization::Affine(_) => "tritburn, affine",
            _ => "tritburn",
        }
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let (config, tensors) = (&file.config, &file.tensors);
        if let Quantization::Affine(_) = config.quantization {
            return canonical::check(tensors, config);
        }
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
        if let Quantization::Affine(_) = file.config.quantization {
            let matrix = canonical::read(&file.tensors, &file.config, layer, projection)?;
            return Ok(Weight::Affine(matrix));
        }
        let names = PackedNames::new(layer, projection);
        let shape @ [out, input] = file.config.projection_shape(projection);
        let words = |name: &str, dtype: DType| {
            let shape = file.tensors.typed(name, &[dtype])?.shape.clone();
            file.tensors.words(name, &shape, &[dtype])
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
            .words(&names.codes, &codes_shape, &[DType::U32])?;
        let scales = words(&names.scales, DType::F32)?
            .into_iter()
            .map(f32::from_bits);
        let matrix = PackedMatrix::new(layout, codes, scales.collect());
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::pack(&names.codes))?,
        ))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_folder(&file.format.folder)?)
    }
}

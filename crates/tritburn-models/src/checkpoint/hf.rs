//! Folders of Hugging Face transformers.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use tritburn::InputPrecision;
use tritburn_formats::codec::{ScaleDirection, hf_bitnet};
use tritburn_formats::file::{DType, TensorSource};
use tritburn_formats::{MatrixError, PackedLayout, PackedMatrix, ScaleGranularity};

use super::affine;
use super::bare::Bare;
use super::source::{FLOATS, Tensors};
use super::stored::{Format, Stored};
use super::{CheckpointError, Norm, Projection, Table, Weight, unpacked};
use crate::config::{AffineStorage, DecoderConfig, LinearClass, Quantization};
use crate::text::TokenizerFiles;

/// Names of tensors.
pub(crate) mod names {
    use crate::checkpoint::{Norm, Projection, Table};
    use crate::config::DecoderConfig;

    pub fn norm(norm: Norm, config: &DecoderConfig) -> String {
        let feed_forward = match config.post_norms {
            true => "pre_feedforward",
            false => "post_attention",
        };
        match norm {
            Norm::Input(i) => format!("model.layers.{i}.input_layernorm.weight"),
            Norm::Query(i) => format!("model.layers.{i}.self_attn.q_norm.weight"),
            Norm::Key(i) => format!("model.layers.{i}.self_attn.k_norm.weight"),
            Norm::AttentionSub(i) => format!("model.layers.{i}.self_attn.attn_sub_norm.weight"),
            Norm::PostAttention(i) => format!("model.layers.{i}.{feed_forward}_layernorm.weight"),
            Norm::AttentionResult(i) => format!("model.layers.{i}.post_attention_layernorm.weight"),
            Norm::FfnResult(i) => format!("model.layers.{i}.post_feedforward_layernorm.weight"),
            Norm::FfnSub(i) => format!("model.layers.{i}.mlp.ffn_sub_norm.weight"),
            Norm::Projection(i, p) => format!("{}.rms_norm.weight", projection(i, p)),
            Norm::Final => "model.norm.weight".to_string(),
        }
    }

    /// The name, and what models from before transformers knew BitNet have instead.
    pub fn norms(norm: Norm, config: &DecoderConfig) -> Vec<String> {
        let old = match norm {
            Norm::AttentionSub(i) => {
                Some(format!("model.layers.{i}.self_attn.inner_attn_ln.weight"))
            }
            Norm::FfnSub(i) => Some(format!("model.layers.{i}.mlp.ffn_layernorm.weight")),
            Norm::Projection(i, p) => return projection_norms(i, p).into(),
            _ => None,
        };
        std::iter::once(self::norm(norm, config))
            .chain(old)
            .collect()
    }

    /// The names of the norm in front of a projection.
    pub fn projection_norms(layer: usize, projection: Projection) -> [String; 2] {
        let projection = self::projection(layer, projection);
        ["rms_norm", "norm"].map(|norm| format!("{projection}.{norm}.weight"))
    }

    pub fn bias(layer: usize, projection: Projection) -> String {
        format!("{}.bias", self::projection(layer, projection))
    }

    /// The layer that a projection is; its tensors begin with it and a dot.
    pub fn projection(layer: usize, projection: Projection) -> String {
        let part = match projection {
            Projection::Q | Projection::K | Projection::V | Projection::O => "self_attn",
            Projection::Gate | Projection::Up | Projection::Down => "mlp",
        };
        format!("model.layers.{layer}.{part}.{projection}_proj")
    }

    pub fn table(table: Table) -> &'static str {
        match table {
            Table::Embedding => "model.embed_tokens.weight",
            Table::Head => "lm_head.weight",
        }
    }
}

/// A folder, with the files of the tokenizer.
pub(super) struct Hf {
    folder: PathBuf,
}

/// End of the name of a buffer that older releases of transformers saved with every layer.
const FREQUENCIES: &str = "rotary_emb.inv_freq";

impl Stored<Hf> {
    pub fn open(
        folder: &Path,
        tensors: Bare,
        mut config: DecoderConfig,
    ) -> Result<Self, CheckpointError> {
        let (folder, tensors) = (folder.to_path_buf(), Tensors(tensors));
        if config.quantization == Quantization::Dense {
            let name = format!("{}.weight", names::projection(0, Projection::Q));
            let shape = config.projection_shape(Projection::Q);
            // What is wrong with the tensor is told with all others.
            let first = tensors.floats(&name, &shape);
            if first.is_ok_and(|first| first.ternary().is_some()) {
                config.quantization = Quantization::Unpacked;
                config.inputs = InputPrecision::Float;
            }
        }
        if let Quantization::Affine(_) = config.quantization {
            config.biases = affine::biases(&tensors);
        }
        Self::new(tensors, config, Hf { folder })
    }

    /// Whether projections have norms of their own: BitNet-embedding's configuration does not say it.
    pub fn has_projection_norms(tensors: &Bare) -> bool {
        let names = names::projection_norms(0, Projection::Q);
        names.iter().any(|name| tensors.info(name).is_some())
    }

    /// Shape of the scales of a projection of `rows`: one, as a vector or a scalar, or one a row.
    fn expect_scale(&self, name: &str, rows: usize) -> Result<Vec<usize>, CheckpointError> {
        let shape = &self.tensors.typed(name, &FLOATS)?.shape;
        if shape.is_empty() || *shape == [rows] || *shape == [rows, 1] || *shape == [1, 1] {
            return Ok(shape.clone());
        }
        self.tensors.expect(name, &[1], &FLOATS)?;
        Ok(vec![1])
    }

    /// Names of saved rotary frequencies, which are those of the configuration.
    fn frequencies(&self) -> Result<Vec<String>, CheckpointError> {
        let named = self.tensors.0.tensors().iter().map(|tensor| &tensor.name);
        let names: Vec<String> = named
            .filter(|name| name.ends_with(FREQUENCIES))
            .cloned()
            .collect();
        let expected = self.config.rotary_frequencies(1);
        for name in &names {
            let found = self.tensors.floats(name, &[expected.len()])?.to_f32();
            // They may have been rounded to bf16.
            let close = |a: f32, b: f32| (a - b).abs() <= b.abs() / 128.0;
            let differs = |(&a, &b): (&f32, &f32)| !close(a, b);
            if let Some(index) = found.iter().zip(&expected).position(differs) {
                return Err(CheckpointError::Frequencies {
                    path: self.tensors.path().to_path_buf(),
                    tensor: name.clone(),
                    theta: self.config.rope_theta,
                    index,
                    found: found[index],
                    expected: expected[index],
                });
            }
        }
        Ok(names)
    }
}

/// Gemma's gains are stored less 1; those of projections are not Gemma's.
pub(crate) fn gain_offset(norm: Norm, config: &DecoderConfig) -> f32 {
    match norm {
        Norm::Projection(..) => 0.0,
        _ => config.family.facts().gain_offset,
    }
}

/// Four rows share a byte.
pub(crate) fn packed_shape([out, input]: [usize; 2]) -> [usize; 2] {
    [out.div_ceil(4), input]
}

impl Format for Hf {
    type File = Bare;

    const REPEATS_TIED_HEAD: bool = true;

    fn norm(norm: Norm, config: &DecoderConfig) -> Vec<String> {
        names::norms(norm, config)
    }

    fn gain_offset(norm: Norm, config: &DecoderConfig) -> f32 {
        gain_offset(norm, config)
    }

    fn bias(layer: usize, projection: Projection) -> String {
        names::bias(layer, projection)
    }

    fn table(table: Table) -> &'static str {
        names::table(table)
    }

    fn name(file: &Stored<Self>) -> &'static str {
        match file.config.quantization {
            Quantization::Dense => "Hugging Face, float",
            Quantization::Unpacked => "Hugging Face, unpacked ternary weights",
            Quantization::Online => "Hugging Face, master weights",
            Quantization::Packed { .. } => "Hugging Face, packed",
            Quantization::Affine(AffineStorage::Awq { .. }) => "Hugging Face, AWQ",
            Quantization::Affine(_) => "Hugging Face, GPTQ",
        }
    }

    fn check(file: &Stored<Self>) -> Result<HashSet<String>, CheckpointError> {
        let (config, tensors) = (&file.config, &file.tensors);
        let mut known = HashSet::from_iter(file.frequencies()?);
        if let Quantization::Affine(storage) = config.quantization {
            known.extend(affine::check(tensors, config, storage)?);
            return Ok(known);
        }
        for (layer, projection) in config.projections() {
            let name = names::projection(layer, projection);
            let shape = config.projection_shape(projection);
            let weight = format!("{name}.weight");
            if let Quantization::Packed { .. } = config.quantization {
                let scale = format!("{name}.weight_scale");
                tensors.expect(&weight, &packed_shape(shape), &[DType::U8])?;
                file.expect_scale(&scale, shape[0])?;
                known.insert(scale);
            } else {
                tensors.expect(&weight, &shape, &FLOATS)?;
            }
            known.insert(weight);
        }
        Ok(known)
    }

    fn projection(
        file: &Stored<Self>,
        layer: usize,
        projection: Projection,
    ) -> Result<Weight, CheckpointError> {
        let name = names::projection(layer, projection);
        let shape = file.config.projection_shape(projection);
        let weight = format!("{name}.weight");
        let linear_class = match file.config.quantization {
            Quantization::Packed { linear_class } => linear_class,
            Quantization::Unpacked => return Ok(unpacked(file.tensors.floats(&weight, &shape)?)),
            Quantization::Dense | Quantization::Online => {
                return Ok(Weight::Master(file.tensors.floats(&weight, &shape)?));
            }
            Quantization::Affine(storage) => {
                let (tensors, config) = (&file.tensors, &file.config);
                let matrix = affine::read(tensors, config, storage, layer, projection)?;
                return Ok(Weight::Affine(matrix));
            }
        };
        let direction = match linear_class {
            LinearClass::BitLinear => ScaleDirection::Divide,
            LinearClass::AutoBitLinear => ScaleDirection::Multiply,
        };
        let scale = format!("{name}.weight_scale");
        let stored = file
            .tensors
            .floats(&scale, &file.expect_scale(&scale, shape[0])?)?;
        let scales = stored
            .to_f32()
            .into_iter()
            .map(|stored| direction.to_gamma(stored));
        let scales = scales.collect::<Result<Vec<f32>, _>>();
        let scales = scales.map_err(CheckpointError::codec(&scale))?;
        let bytes = file
            .tensors
            .bytes(&weight, &packed_shape(shape), &[DType::U8])?;
        let matrix = hf_bitnet::decode(&bytes, shape[0], shape[1], scales[0]);
        let matrix = matrix.map_err(CheckpointError::codec(&weight))?;
        if scales.len() == 1 {
            return Ok(Weight::Packed(matrix));
        }
        let (layout, words, _) = matrix.into_parts();
        let rows = PackedLayout::new(shape[0], shape[1], layout.code(), ScaleGranularity::Row);
        let matrix = rows
            .map_err(MatrixError::from)
            .and_then(|layout| PackedMatrix::new(layout, words, scales));
        Ok(Weight::Packed(
            matrix.map_err(CheckpointError::pack(&scale))?,
        ))
    }

    fn tokenizer(file: &Stored<Self>) -> Result<TokenizerFiles, CheckpointError> {
        Ok(TokenizerFiles::from_folder(&file.format.folder)?)
    }
}

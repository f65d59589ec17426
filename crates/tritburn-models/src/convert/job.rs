//! One conversion from start to end.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::tritburn::InputPrecision;
use tritburn_formats::file::gguf::Metadata;
use tritburn_formats::file::{GgufWriter, SafetensorsWriter, TensorSpec, TorchWriter};
use tritburn_formats::quantize::affine::AffineQuantizer;

use super::affine::{self, Quantized};
use super::check;
use super::compare;
use super::fit;
use super::header::Header;
use super::output::{Encoder, Item, Writer, items};
use super::table::{TableForm, pieces};
use super::{ConvertError, Loss, Report, TableType, Target};
use crate::checkpoint::{
    Checkpoint, CheckpointError, FloatType, Table, bitnet_gpu_names, open, tritburn,
};
use crate::config::{AffineStorage, DecoderConfig, LinearClass, Quantization};
use crate::replace::{self, Stuck};
use crate::text::TokenizerFiles;

/// What a conversion may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Go on where something is lost; the [`Report`] says what.
    pub allow_lossy: bool,
    /// Replace what is there under the name of the result, if it is what a conversion leaves there: a
    /// file where the target is one, else a folder that is empty or holds a model and nothing else.
    pub force: bool,
    /// Type of embedding and head.
    pub table_type: TableType,
    /// Rounds a plain float model to weights with groups, for [`Target::Tritburn`]. Every projection is
    /// quantised twice, to write it and to compare what was written.
    pub weights: Option<AffineQuantizer>,
    /// Asked between parts of the work: whether the user wants it to end.
    pub cancelled: Option<fn() -> bool>,
}

/// How far a conversion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: `checking`, `writing` or `verifying`.
    pub stage: &'static str,
    /// Parts of the model that are done in this stage.
    pub done: usize,
    /// Parts of the model.
    pub total: usize,
}

/// Writes `source` in another format to `to`, a file or folder that does not exist yet or that
/// [`Options::force`] replaces. `progress` is called after every part of the model, in each of three stages.
///
/// # Errors
/// [`ConvertError`]; nothing is left behind then, and what was there before is untouched.
///
/// # Examples
///
/// ```
/// use tritburn_models::DecoderConfig;
/// use tritburn_models::checkpoint::{self, Checkpoint, Synthetic};
/// use tritburn_models::convert::{Options, Target, convert};
///
/// let source = Synthetic::new(DecoderConfig::tiny(), 1)?; // or `checkpoint::open(path)?`
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("model.gguf");
/// let mut steps = 0;
/// let report = convert(&source, &path, Target::GgufI2S, &Options::default(), &mut |_| steps += 1)?;
/// assert!(report.losses.is_empty() && steps > 0);
/// assert_eq!(checkpoint::open(&path)?.format(), "GGUF, I2_S");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn convert(
    source: &dyn Checkpoint,
    to: impl AsRef<Path>,
    target: Target,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, ConvertError> {
    let to = to.as_ref();
    let quantized = options
        .weights
        .map(|weights| Quantized::new(source, target, weights))
        .transpose()?;
    let source: &dyn Checkpoint = match &quantized {
        Some(quantized) => quantized,
        None => source,
    };
    match source.quantization() {
        Quantization::Dense if target.float_weights().is_none() => return Err(ConvertError::Dense),
        Quantization::Affine(_)
            if target != Target::Tritburn && target.float_weights().is_none() =>
        {
            return Err(ConvertError::Model {
                target: target.name(),
                reason:
                    "its weights have groups and 2 to 4 bits, which tritburn, bf16 and f32 hold"
                        .to_string(),
            });
        }
        _ => {}
    }
    check::replaceable(to, target, options.force, None)?;
    fit::check(source.config(), target)?;
    let (files, unread) = match source.tokenizer() {
        Ok(files) => (files, None),
        Err(CheckpointError::Text(error)) => {
            let reason = error.to_string();
            (TokenizerFiles::default(), Some(Loss::Tokenizer { reason }))
        }
        Err(error) => return Err(error.into()),
    };
    let job = Job {
        cancelled: options.cancelled,
        weights: options.weights,
        encoder: Encoder::new(source, target, options.table_type)?,
        items: items(target, source.config()),
    };
    let (specs, mut losses) = job.check(progress)?;
    let stop_ids = files.stop_ids(source.config())?;
    losses.extend(unread);
    let header = Header::new(source, target, &files, stop_ids, to)?;
    losses.extend(header.losses);
    if !losses.is_empty() && !options.allow_lossy {
        return Err(ConvertError::Lossy { losses });
    }

    let scratch = replace::scratch(to)?;
    let result = scratch.path().join("result");
    if !target.is_file() {
        fs::create_dir(&result).map_err(io_error(&result))?;
        files.write_to_folder(&result)?;
        job.write_config(&result, &specs)?;
    }
    job.write(job.writer(&result, &specs, &header.metadata)?, progress)?;
    let target_bytes = job.verify(&result, &header.config, progress)?;
    // Again: the conversion took a while.
    let made_in = scratch.path();
    check::replaceable(to, target, options.force, Some(made_in))?;
    replace::replace(&result, to, made_in)?;

    let count = |kind: fn(&Item) -> usize| job.items.iter().map(kind).sum();
    Ok(Report {
        path: to.to_path_buf(),
        target,
        source_format: source.format(),
        projections: count(|item| match item {
            Item::Projections(_, group) => group.len(),
            _ => 0,
        }),
        norms: count(|item| usize::from(matches!(item, Item::Norm(_)))),
        tables: count(|item| usize::from(matches!(item, Item::Table(_)))),
        source_bytes: source.stored_bytes(),
        target_bytes,
        tokenizer: files.has_tokenizer()
            && !losses.iter().any(|l| matches!(l, Loss::Tokenizer { .. })),
        losses,
        rounded: quantized
            .as_ref()
            .map(Quantized::rounded)
            .unwrap_or_default(),
    })
}

struct Job<'a> {
    cancelled: Option<fn() -> bool>,
    weights: Option<AffineQuantizer>,
    encoder: Encoder<'a>,
    items: Vec<Item>,
}

impl Job<'_> {
    fn config(&self) -> &DecoderConfig {
        self.encoder.source.config()
    }

    /// Converts everything once: which tensors there will be, and what is lost in them.
    fn check(
        &self,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Vec<TensorSpec>, Vec<Loss>), ConvertError> {
        let (mut specs, mut losses) = (Vec::new(), Vec::new());
        self.each("checking", progress, |item| {
            match item {
                Item::Table(table) => {
                    let (name, form) = self.encoder.table(table);
                    let shape = [self.config().vocab_size, self.config().hidden_size];
                    specs.push(TensorSpec::new(name, form.dtype(), shape));
                    losses.extend(self.table_loss(table)?);
                }
                Item::Norm(norm) => specs.push(self.encoder.norm(norm)?.spec),
                Item::RopeFactors => {
                    let tensors = self.encoder.rope_factors();
                    specs.extend(tensors.into_iter().map(|tensor| tensor.spec));
                }
                Item::Bias(layer, projection) => {
                    specs.push(self.encoder.bias(layer, projection)?.spec);
                }
                Item::Projections(layer, group) => match self.weights {
                    // What their tensors will be is known before they are quantised.
                    Some(weights) => {
                        specs.extend(affine::planned(&weights, self.config(), layer, group[0])?);
                    }
                    None => {
                        let (tensors, lost) = self.encoder.projections(layer, group)?;
                        if let Some(error) = lost.iter().find_map(infinite_scale) {
                            return Err(error);
                        }
                        specs.extend(tensors.into_iter().map(|tensor| tensor.spec));
                        losses.extend(lost);
                    }
                },
            }
            Ok(())
        })?;
        Ok((specs, losses))
    }

    /// What a table loses.
    fn table_loss(&self, table: Table) -> Result<Option<Loss>, ConvertError> {
        let stored = self.encoder.source.table_type(table);
        let (name, form) = self.encoder.table(table);
        let tensor = name.to_string();
        let dtype = match form {
            TableForm::Stored(_) => return Ok(None),
            TableForm::Rounded(kind) => {
                return Ok(Some(Loss::Blocks {
                    tensor,
                    kind: *kind,
                }));
            }
            TableForm::Float(dtype) => *dtype,
        };
        if stored == dtype || dtype == FloatType::F32 {
            return Ok(None);
        }
        let (mut count, mut infinite) = (0, 0);
        self.each_rows(|rows| {
            let (data, changed) = self.encoder.table_rows(table, rows)?;
            if changed > 0 {
                let values = data.to_f32();
                let found = values.iter().filter(|value| value.is_infinite()).count();
                infinite += changed.min(found as u64);
            }
            count += changed;
            Ok(())
        })?;
        match (count, infinite) {
            (0, _) => Ok(None),
            (_, 0) => Ok(Some(Loss::Values {
                tensor,
                dtype,
                count,
            })),
            (_, count) => Err(ConvertError::Infinite {
                tensor,
                dtype,
                count,
            }),
        }
    }

    fn each_rows(
        &self,
        mut f: impl FnMut(std::ops::Range<usize>) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        pieces(self.config().vocab_size).try_for_each(|rows| {
            self.go_on()?;
            f(rows)
        })
    }

    fn writer(
        &self,
        result: &Path,
        specs: &[TensorSpec],
        metadata: &Metadata,
    ) -> Result<Writer, ConvertError> {
        let safetensors = |key: &str, value: &str| {
            let about = BTreeMap::from([(key.to_string(), value.to_string())]);
            SafetensorsWriter::create(result.join("model.safetensors"), &about, specs)
        };
        Ok(match self.encoder.target {
            Target::Hf | Target::Bf16 | Target::F32 => {
                Writer::Safetensors(safetensors("format", "pt")?)
            }
            Target::Tritburn => {
                Writer::Safetensors(safetensors(tritburn::VERSION_KEY, tritburn::VERSION)?)
            }
            Target::BitNetGpu => {
                let file = result.join(bitnet_gpu_names::FILE);
                Writer::Torch(TorchWriter::create(file, specs)?)
            }
            Target::GgufTq1_0 | Target::GgufTq2_0 | Target::GgufQ2_0 | Target::GgufI2S => {
                Writer::Gguf(GgufWriter::create(result, metadata, specs)?)
            }
        })
    }

    fn write(
        &self,
        mut writer: Writer,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ConvertError> {
        self.each("writing", progress, |item| {
            match item {
                Item::Table(table) => {
                    let name = self.encoder.table(table).0;
                    self.each_rows(|rows| {
                        let bytes = self.encoder.table_bytes(table, rows)?;
                        Ok(writer.write(name, &bytes)?)
                    })?;
                }
                Item::Norm(norm) => {
                    let tensor = self.encoder.norm(norm)?;
                    writer.write(&tensor.spec.name, &tensor.bytes)?;
                }
                Item::RopeFactors => {
                    for tensor in self.encoder.rope_factors() {
                        writer.write(&tensor.spec.name, &tensor.bytes)?;
                    }
                }
                Item::Bias(layer, projection) => {
                    let tensor = self.encoder.bias(layer, projection)?;
                    writer.write(&tensor.spec.name, &tensor.bytes)?;
                }
                Item::Projections(layer, group) => {
                    for tensor in self.encoder.projections(layer, group)?.0 {
                        writer.write(&tensor.spec.name, &tensor.bytes)?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(writer.finish()?)
    }

    fn write_config(&self, folder: &Path, specs: &[TensorSpec]) -> Result<(), ConvertError> {
        let ternary = self.config().quantization.is_ternary();
        let float_inputs = self.config().inputs == InputPrecision::Float;
        let quantization = match self.encoder.target.float_weights() {
            None if matches!(self.config().quantization, Quantization::Affine(_)) => {
                Quantization::Affine(AffineStorage::Canonical)
            }
            Some(_) if ternary && float_inputs => Quantization::Unpacked,
            Some(_) if ternary => Quantization::Online,
            Some(_) => Quantization::Dense,
            None => Quantization::Packed {
                linear_class: LinearClass::AutoBitLinear,
            },
        };
        let config = DecoderConfig {
            quantization,
            ..self.config().clone()
        };
        // Readers bring all tensors to this type: one that would round a scale must not be named.
        let scale = |spec: &&TensorSpec| spec.name.ends_with("weight_scale");
        let wide = |spec: &TensorSpec| spec.dtype == FloatType::F32.dtype();
        let dtype = match specs.iter().filter(scale).any(wide) {
            true => FloatType::F32,
            false => self.encoder.table(Table::Embedding).1.float_type(),
        };
        let text = match self.encoder.target {
            Target::Tritburn => config.to_tritburn_json(dtype.torch_name()),
            _ => config.to_hf_json(dtype.torch_name()),
        };
        let path = folder.join("config.json");
        fs::write(&path, text).map_err(io_error(&path))
    }

    /// Reads the result back and compares all of it; its size in bytes of tensors.
    fn verify(
        &self,
        result: &Path,
        config: &DecoderConfig,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<u64, ConvertError> {
        let found = open(result).map_err(ConvertError::Verify)?;
        compare::config(config, found.config())?;
        self.each("verifying", progress, |item| {
            compare::item(&self.encoder, found.as_ref(), item)
        })?;
        Ok(found.stored_bytes())
    }

    fn go_on(&self) -> Result<(), ConvertError> {
        match self.cancelled.is_some_and(|cancelled| cancelled()) {
            true => Err(ConvertError::Cancelled),
            false => Ok(()),
        }
    }

    fn each(
        &self,
        stage: &'static str,
        progress: &mut dyn FnMut(Progress),
        mut f: impl FnMut(Item) -> Result<(), ConvertError>,
    ) -> Result<(), ConvertError> {
        let total = self.items.len();
        for (i, &item) in self.items.iter().enumerate() {
            self.go_on()?;
            f(item)?;
            progress(Progress {
                stage,
                done: i + 1,
                total,
            });
        }
        Ok(())
    }
}

fn infinite_scale(loss: &Loss) -> Option<ConvertError> {
    match loss {
        Loss::Scale {
            tensor,
            found,
            stored,
        } if stored.is_infinite() && found.is_finite() => Some(ConvertError::InfiniteScale {
            tensor: tensor.clone(),
            found: *found,
        }),
        _ => None,
    }
}

impl From<Stuck> for ConvertError {
    fn from(Stuck { path, reason }: Stuck) -> Self {
        Self::Io {
            path,
            source: reason,
        }
    }
}

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ConvertError + use<> {
    let path = PathBuf::from(path);
    move |source| ConvertError::Io { path, source }
}

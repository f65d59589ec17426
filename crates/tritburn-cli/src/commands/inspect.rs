//! `inspect`: what a model file holds.

mod affine;
mod finite;
mod vision;

use std::io::{Write, stdout};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;
use tritburn_formats::file::{self, TensorSource};
use tritburn_models::checkpoint::{self, Checkpoint, CheckpointError, Overrides, Weight};
use tritburn_models::config::Quantization;
use tritburn_models::text::Tokenizer;

use self::affine::Affine;
use crate::cli::InspectArgs;
use crate::error::{cannot, message};
use crate::say::{mib, plain, say};

/// What is told of a file.
#[derive(Serialize)]
struct Report {
    path: String,
    /// Of the model, or "not a model" for a file with tensors of another kind.
    format: String,
    /// The family that a model belongs to, as `model_type` names it.
    model: Option<String>,
    bytes: u64,
    parameters: Option<u64>,
    /// Whether logits are made with the embedding; `false` for a head of its own.
    tied_head: Option<bool>,
    /// Of the projections alone, as stored.
    bits_per_weight: Option<f64>,
    /// Whether weights are floats that are quantised when the model is loaded: codes and scales are
    /// then what that gives.
    master_weights: bool,
    /// Shares of -1, 0 and +1 over all projections; absent for float weights that stay so.
    codes: Option<[f64; 3]>,
    /// Smallest and largest γ; of weights with groups, their smallest and largest scale.
    scales: Option<[f32; 2]>,
    /// Of weights with groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    affine: Option<Affine>,
    tensors: Vec<Tensor>,
    problems: Vec<String>,
    /// Of a vision transformer: the classes that it tells apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Tensor {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: usize,
}

/// What to do about problems.
const ADVICE: &str = "with such problems a model does not load, or gives nonsense: get the file again, \
    or convert it anew from where it came from";

pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let overrides = Overrides::parse(&args.overrides.overrides)?;
    let report = inspect(&args.path, &overrides)?;
    match args.json {
        true => writeln!(stdout(), "{}", serde_json::to_string(&report)?)?,
        false => print(&report, args.tensors)?,
    }
    if report.problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say!("{ADVICE}");
    Ok(ExitCode::FAILURE)
}

fn inspect(named: &Path, overrides: &Overrides) -> Result<Report> {
    // A file's folder has a name then, which errors tell.
    let path = &match named.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new(".").join(named),
        _ => named.to_path_buf(),
    };
    if tritburn_models::vision::is_folder(path) {
        return vision_report(path, named);
    }
    let model = match checkpoint::open_with(path, overrides) {
        // Which of them is meant is not ours to choose.
        Err(error @ CheckpointError::Several { .. }) => return Err(cannot("inspect", path, error)),
        model => model,
    };
    // Tensors are listed of files of any models or not.
    let source = match checkpoint::weights(path) {
        Ok(weights) => file::open(weights),
        Err(_) => file::open(path),
    };
    let (tensors, problems) = match (source, &model) {
        (Ok(source), _) => {
            let mut problems = source.problems();
            problems.extend(finite::problems(source.as_ref()));
            (tensors(source.as_ref()), problems)
        }
        (Err(_), Ok(_)) => Default::default(),
        (Err(error), Err(_)) => return Err(cannot("inspect", path, error)),
    };
    let mut report = Report::new(named, tensors, problems);
    match model {
        Ok(model) => describe(model.as_ref(), &mut report),
        Err(error) => report.problems.push(message(&error.into())),
    }
    Ok(report)
}

impl Report {
    /// A report on tensors of which nothing more is known.
    fn new(named: &Path, tensors: Vec<Tensor>, problems: Vec<String>) -> Self {
        Self {
            path: named.display().to_string(),
            format: "not a model".to_string(),
            bytes: tensors.iter().map(|t| t.bytes as u64).sum(),
            model: None,
            parameters: None,
            tied_head: None,
            bits_per_weight: None,
            master_weights: false,
            codes: None,
            scales: None,
            affine: None,
            tensors,
            problems,
            classes: None,
        }
    }
}

/// Reads the folder of a vision transformer.
fn vision_report(folder: &Path, named: &Path) -> Result<Report> {
    let weights = folder.join("model.safetensors");
    let source = file::open(&weights).map_err(|error| cannot("inspect", &weights, error))?;
    let mut problems = source.problems();
    problems.extend(finite::problems(source.as_ref()));
    let mut report = Report::new(named, tensors(source.as_ref()), problems);
    vision::describe(folder, &mut report);
    Ok(report)
}

fn tensors(source: &dyn TensorSource) -> Vec<Tensor> {
    let tensor = |info: &file::TensorInfo| Tensor {
        name: info.name.clone(),
        dtype: info.dtype.to_string(),
        shape: info.shape.clone(),
        bytes: info.byte_len,
    };
    source.tensors().iter().map(tensor).collect()
}

/// Reads all weights of a model.
fn describe(model: &dyn Checkpoint, report: &mut Report) {
    let config = model.config();
    report.format = model.format().to_string();
    report.model = Some(config.family.to_string());
    report.bytes = model.stored_bytes();
    report.parameters = Some(config.parameter_count());
    report.tied_head = Some(config.tie_word_embeddings);
    report.master_weights = model.quantization() == Quantization::Online;
    let mut counts = [0u64; 3];
    let mut scales: Option<[f32; 2]> = None;
    for (layer, projection) in config.projections() {
        let name = format!("layer {layer}, {projection}");
        let weight = match model.projection(layer, projection) {
            Ok(Weight::Master(_)) if !report.master_weights => continue,
            Ok(Weight::Affine(matrix)) => {
                report.affine.get_or_insert_default().add(&matrix);
                for scale in matrix.scales().to_f32() {
                    let [low, high] = scales.unwrap_or([scale, scale]);
                    scales = Some([low.min(scale), high.max(scale)]);
                }
                continue;
            }
            weight => weight,
        };
        let matrix = match weight.and_then(|weight| weight.into_packed(&name)) {
            Ok(matrix) => matrix,
            Err(error) => {
                let error = message(&error.into());
                report.problems.push(format!("{name}: {error}"));
                continue;
            }
        };
        let mut found = [0u64; 3];
        for code in matrix.codes() {
            found[usize::from(code.min(2))] += 1;
        }
        if found[0] + found[2] == 0 {
            report.problems.push(format!("{name}: all weights are 0"));
        }
        counts.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
        for &scale in matrix.scales() {
            if !(scale.is_finite() && scale > 0.0) {
                report.problems.push(format!("{name}: scale {scale}"));
            }
            let [low, high] = scales.unwrap_or([scale, scale]);
            scales = Some([low.min(scale), high.max(scale)]);
        }
    }
    for norm in config.norms() {
        if let Err(error) = model.norm(norm) {
            let error = message(&error.into());
            report.problems.push(format!("norm {norm:?}: {error}"));
        }
    }
    let text = model.tokenizer().map_err(anyhow::Error::from);
    let text = text.and_then(|files| match files.has_tokenizer() {
        true => Ok(Some(Tokenizer::from_files(&files)?)),
        false => Ok(None),
    });
    if let Err(error) = text {
        let error = message(&error);
        report.problems.push(format!("tokenizer: {error}"));
    }
    let total: u64 = counts.iter().sum();
    report.codes = (total > 0).then(|| counts.map(|count| count as f64 / total as f64));
    report.scales = scales;
    report.bits_per_weight = bits_per_weight(model, &report.tensors);
}

/// Bits that the tensors of projections take for each of their weights: of all that are neither
/// norms nor tables.
fn bits_per_weight(model: &dyn Checkpoint, tensors: &[Tensor]) -> Option<f64> {
    const OTHERS: [&str; 6] = ["norm", "embed", "embd", "lm_head", "output.weight", "tok_"];
    let config = model.config();
    let weights: u64 = config
        .projections()
        .map(|(_, p)| config.projection_shape(p).iter().product::<usize>() as u64)
        .sum();
    let other = |name: &str| {
        let attention_output = name.contains("attn_output");
        !attention_output && OTHERS.iter().any(|part| name.contains(part))
    };
    let stored = tensors.iter().filter(|tensor| !other(&tensor.name));
    let bytes: usize = stored.map(|tensor| tensor.bytes).sum();
    (bytes > 0).then(|| 8.0 * bytes as f64 / weights as f64)
}

fn print(report: &Report, list: bool) -> Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.add_row(vec!["format".to_string(), report.format.clone()]);
    if let Some(model) = &report.model {
        table.add_row(vec!["model".to_string(), model.clone()]);
    }
    let mib = mib(report.bytes);
    let size = format!("{mib:.1} MiB in {} tensors", report.tensors.len());
    table.add_row(vec!["size".to_string(), size]);
    if let Some(parameters) = report.parameters {
        table.add_row(vec!["parameters".to_string(), parameters.to_string()]);
    }
    if let Some(classes) = &report.classes {
        let count = format!("{}: {}", classes.len(), plain(&classes.join(", ")));
        table.add_row(vec!["classes".to_string(), count]);
    }
    if let Some(tied) = report.tied_head {
        let head = if tied { "the embedding" } else { "its own" };
        table.add_row(vec!["output head", head]);
    }
    if let Some(bits) = report.bits_per_weight {
        table.add_row(vec!["bits per weight".to_string(), format!("{bits:.3}")]);
    }
    if let Some(affine) = &report.affine {
        table.add_row(vec!["weights".to_string(), affine.to_string()]);
    }
    let quantised = match report.master_weights {
        true => ", once quantised",
        false => "",
    };
    if let Some([minus, zero, plus]) = report.codes.map(|shares| shares.map(|s| 100.0 * s)) {
        let shares = format!("-1 {minus:.1} %   0 {zero:.1} %   +1 {plus:.1} %");
        table.add_row(vec![format!("codes{quantised}"), shares]);
    }
    if let Some([low, high]) = report.scales {
        let range = format!("{low} to {high}");
        table.add_row(vec![format!("scales{quantised}"), range]);
    }
    let mut out = stdout();
    writeln!(out, "{}\n{table}", report.path)?;
    if list {
        let mut table = Table::new();
        table.load_style(NOTHING);
        for tensor in &report.tensors {
            let shape = format!("{:?}", tensor.shape);
            table.add_row(vec![
                plain(&tensor.name),
                tensor.dtype.clone(),
                shape,
                tensor.bytes.to_string(),
            ]);
        }
        writeln!(out, "\n{table}")?;
    }
    for problem in &report.problems {
        writeln!(out, "problem: {}", plain(problem))?;
    }
    Ok(())
}

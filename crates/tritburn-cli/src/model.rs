//! From the command line to a model on a device.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use clap::ValueEnum;
use indicatif::ProgressBar;
use tritburn::device;
use tritburn_models::checkpoint::{self, Checkpoint, Overrides, Synthetic};
use tritburn_models::config::DecoderConfig;
use tritburn_models::model::{CausalLm, LoadOptions};

use crate::cli::{ModelArgs, OverrideArgs, Shape};
use crate::error::cannot;

/// Seed of synthetic weights.
const SEED: u64 = 1;
/// Starts the name of a model that is no file.
const SYNTHETIC: &str = "synthetic:";

/// A checkpoint, opened but not loaded, and where it goes.
pub struct Source {
    pub checkpoint: Box<dyn Checkpoint>,
    pub device: Device,
    pub options: LoadOptions,
    /// What the user calls the model.
    pub name: String,
}

/// Opens a model: a folder or file, or `synthetic:SHAPE`.
pub fn open(path: &Path, overrides: &OverrideArgs) -> Result<Box<dyn Checkpoint>> {
    match path.to_str().and_then(|path| path.strip_prefix(SYNTHETIC)) {
        Some(shape) => {
            let shape = Shape::from_str(shape, false).map_err(|_| {
                let known = Shape::value_variants().iter().map(Shape::to_string);
                let known = known.collect::<Vec<_>>().join(", ");
                anyhow!("no shape is called {shape:?}; there are: {known}")
            })?;
            synthetic(shape)
        }
        None => {
            let overrides = Overrides::parse(&overrides.overrides)?;
            checkpoint::open_with(path, &overrides).map_err(|error| cannot("open", path, error))
        }
    }
}

/// Random weights in the shapes of a model.
fn synthetic(shape: Shape) -> Result<Box<dyn Checkpoint>> {
    let config = match shape {
        Shape::B2T4 => DecoderConfig::b1_58_2b_4t(),
        Shape::Llama38B => DecoderConfig::llama3_8b_1_58(),
        Shape::Falcon310B => DecoderConfig::falcon3_10b_1_58(),
        Shape::Tiny => DecoderConfig::tiny(),
    };
    Ok(Box::new(Synthetic::new(config, SEED)?))
}

impl Source {
    /// Opens the model that the arguments name.
    pub fn open(args: &ModelArgs) -> Result<Self> {
        let device = device::open(&args.device)?;
        let (checkpoint, name) = match (&args.model, args.synthetic) {
            (Some(path), _) => (open(path, &args.overrides)?, path.display().to_string()),
            (None, Some(shape)) => (synthetic(shape)?, shape.to_string()),
            (None, None) => unreachable!("the command line asks for one of both"),
        };
        let config = checkpoint.config();
        let (longest, positions) = (config.longest_sequence(), config.max_position_embeddings);
        if longest < positions {
            tracing::warn!(
                "{name} has {positions} positions, and layers that see the last {longest} only, which \
                 is not computed here: sequences of up to {longest} run"
            );
        }
        let options = options(args, &device);
        Ok(Self {
            checkpoint,
            device,
            options,
            name,
        })
    }

    /// Loads the model with the options given, telling how long it took.
    pub fn load(&self, options: &LoadOptions) -> Result<(Arc<CausalLm>, Duration)> {
        self.load_on(options, &self.device)
    }

    /// [`load`](Self::load), to another device.
    pub fn load_on(
        &self,
        options: &LoadOptions,
        device: &Device,
    ) -> Result<(Arc<CausalLm>, Duration)> {
        let spinner = ProgressBar::new_spinner().with_message(format!("loading {}", self.name));
        spinner.enable_steady_tick(Duration::from_millis(120));
        let started = Instant::now();
        let model = CausalLm::load(self.checkpoint.as_ref(), options, device)
            .with_context(|| format!("cannot load {}", self.name))?;
        device
            .sync()
            .map_err(|error| anyhow!("the device failed: {error:?}"))?;
        let took = started.elapsed();
        spinner.finish_and_clear();
        tracing::info!(
            seconds = took.as_secs_f64(),
            bytes = model.byte_count(),
            "loaded {}",
            self.name
        );
        Ok((Arc::new(model), took))
    }
}

fn options(args: &ModelArgs, device: &Device) -> LoadOptions {
    let mut options = LoadOptions::for_device(device);
    options.precision = args.precision.map(Into::into);
    if let Some(dtype) = args.dtype {
        options.dtype = dtype.into();
    }
    options.cache_dtype = args.cache_dtype.map(Into::into);
    options.head = args.head.into();
    options
}

/// Bytes of the keys and values of a position.
pub fn position_bytes(model: &CausalLm) -> Result<usize> {
    Ok(model.cache(1, 1)?.byte_count().max(1))
}

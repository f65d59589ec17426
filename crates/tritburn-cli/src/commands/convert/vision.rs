//! A vision transformer packed to 2 bits a weight.

use std::io::{Write, stdout};

use anyhow::{Context, Result, bail, ensure};
use burn::tensor::{DType, Device};
use serde_json::json;
use tritburn::Pack;
use tritburn_models::VisionTransformer;
use tritburn_models::convert::Target;

use crate::cli::ConvertArgs;
use crate::say::mib;

/// Packs the model in a folder; what was written is read back and compared.
pub(super) fn run(args: &ConvertArgs) -> Result<()> {
    ensure!(
        args.to == Target::Tritburn,
        "a vision transformer is packed by --to {}: {} has no place for one",
        Target::Tritburn,
        args.to
    );
    ensure!(
        args.weights.is_none(),
        "a vision transformer's ternary layers are packed as they are: leave out --weights"
    );
    let device: Device = tritburn::device::open(tritburn::device::default_name())?;
    let load = |path| VisionTransformer::load(path, DType::F32, &device);
    let from = &args.input;
    let trained = load(from).with_context(|| format!("cannot load {}", from.display()))?;
    let packed = trained.pack()?;
    if !packed.is_packed() {
        bail!(
            "{} has no ternary layers: there is nothing to pack",
            from.display()
        );
    }
    let exists = args.output.exists() && !args.force;
    ensure!(
        !exists,
        "{} exists; --force replaces a folder that holds a vision transformer",
        args.output.display()
    );
    packed.save(&args.output, args.force)?;
    let written = load(&args.output)?;
    ensure!(
        written.is_packed() && written.checksum()? == packed.checksum()?,
        "{} is not what was written",
        args.output.display()
    );
    let (before, after) = (trained.byte_count()?, packed.byte_count()?);
    let mut out = stdout();
    if args.json {
        let report = json!({
            "output": args.output.display().to_string(),
            "format": args.to.name(),
            "source_format": "vision folder",
            "source_bytes": before,
            "bytes": after,
            "verified": true,
            "lossless": true,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{}: {}, {:.2} MiB (from {:.2} MiB)\nread back and compared",
        args.output.display(),
        args.to,
        mib(after),
        mib(before),
    )?;
    Ok(())
}

//! `classify`: what images show.

use std::io::{Write, stdout};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tritburn::device;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::{Fit, Labelling, Picture};

use crate::cli::ClassifyArgs;
use crate::say::plain;

pub fn run(args: &ClassifyArgs) -> Result<()> {
    ensure!(
        args.batch_size > 0,
        "--batch-size 0: at least one image runs at a time"
    );
    let device = device::open(&args.device)?;
    let dtype = VisionTransformer::dtype_for(&device);
    let model = VisionTransformer::load(&args.model, dtype, &device)
        .with_context(|| format!("cannot load {}", args.model.display()))?;
    let config = model.config();
    let fit = match args.fit {
        true => Fit::Convert,
        false => Fit::Exact,
    };
    let read = |path| Picture::open(path, config.num_channels, config.image_size, fit);
    for paths in args.images.chunks(args.batch_size) {
        let pictures = paths.iter().map(read).collect::<Result<Vec<_>, _>>();
        let pictures = pictures.context(match args.fit {
            true => "an image cannot be classified",
            false => "an image cannot be classified as it is (--fit resizes and converts)",
        })?;
        let images = Picture::batch(&pictures, config, &device)?;
        let probabilities = config.probabilities(model.logits(images)?)?;
        let mut out = stdout().lock();
        for (path, row) in paths.iter().zip(probabilities.chunks(config.num_classes())) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            if args.json {
                let classes = order.iter().map(|&class| {
                    json!({ "class": class, "label": config.labels[class], "probability": row[class] })
                });
                let multi = config.labelling == Labelling::Multi;
                let line = json!({
                    "image": path.display().to_string(),
                    "class": order[0],
                    "label": config.labels[order[0]],
                    "multi_label": multi,
                    "classes": classes.collect::<Vec<_>>(),
                });
                writeln!(out, "{line}")?;
                continue;
            }
            let named = order.iter().take(args.top.max(1)).map(|&class| {
                format!(
                    "{} {:.1} %",
                    plain(&config.labels[class]),
                    100.0 * row[class]
                )
            });
            let named = named.collect::<Vec<_>>().join(", ");
            writeln!(out, "{}: {named}", path.display())?;
        }
    }
    Ok(())
}

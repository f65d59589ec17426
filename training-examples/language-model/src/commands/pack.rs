//! `pack`

use std::path::PathBuf;

use tritburn_models::checkpoint;
use tritburn_models::convert::{Options, Target, convert};

use crate::cli::ModelArgs;
use crate::error::Error;
use crate::train::RunFolder;

pub(super) fn run(args: &ModelArgs) -> Result<(), Error> {
    let run = RunFolder::at(&args.output);
    if run.config()?.model.dense {
        return Err(Error::Dense {
            folder: args.output.clone(),
        });
    }
    let packed = pack(&run)?;
    println!("packed {} into {}", run.model().display(), packed.display());
    Ok(())
}

/// Writes the trained model at 2 bits a weight, as `tritburn convert --to hf` does.
pub(super) fn pack(run: &RunFolder) -> Result<PathBuf, Error> {
    let model = checkpoint::open(run.model())?;
    let options = Options {
        force: true,
        ..Options::default()
    };
    let report = convert(
        model.as_ref(),
        run.packed(),
        Target::Hf,
        &options,
        &mut |_| {},
    )?;
    Ok(report.path)
}

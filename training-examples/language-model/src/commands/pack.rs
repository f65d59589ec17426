//! `pack`

use tritburn::Pack;

use crate::cli::ModelArgs;
use crate::error::Error;
use crate::train::RunFolder;
use tritburn::device;

pub(super) fn run(args: &ModelArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    let (config, model) = super::load(&run, &run.model(), &device)?;
    if config.model.dense {
        return Err(Error::Dense {
            folder: args.output.clone(),
        });
    }
    tritburn::store::save(&model.pack()?, run.packed())?;
    println!(
        "packed {} into {}",
        run.model().display(),
        run.packed().display()
    );
    Ok(())
}

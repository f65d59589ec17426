//! `eval`

use training_run::Heartbeat;
use tritburn::device;
use tritburn_models::VisionTransformer;

use crate::cli::EvalArgs;
use crate::error::Error;
use crate::evaluate::{Answers, check};
use crate::report::Report;
use crate::train::{RunFolder, TeacherLogits};

pub(super) fn run(args: &EvalArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    let config = run.config()?;
    let data = config.dataset()?;
    if let Some(path) = &args.logits {
        let dtype = config.model.dtype(&device);
        let model = VisionTransformer::load(run.model(), dtype, &device)?;
        check(&model, &data)?;
        let answers = Answers::of(&model, &data.train, &device)?;
        TeacherLogits::save(path, answers.classes, &answers.logits)?;
        println!(
            "logits of {} training images are in {}",
            data.train.len(),
            path.display()
        );
    }
    let talk = Heartbeat::start("measuring");
    let report = Report::make(&args.output, &data, None, &device)?;
    drop(talk);
    println!(
        "{report}\n\nwritten to {}",
        args.output.join("report.json").display()
    );
    Ok(())
}

//! `bench`

use burn::module::Module;
use training_run::Heartbeat;
use tritburn::device;
use tritburn_models::VisionTransformer;
use tritburn_models::vision::VisionConfig;

use crate::cli::BenchArgs;
use crate::error::Error;
use crate::report::Costs;
use crate::train::ModelConfig;

pub(super) fn run(args: &BenchArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let config = args.model.over(ModelConfig::bitmedvit());
    let sizes = VisionConfig {
        image_size: args.image_size,
        num_channels: args.channels,
        labels: (0..args.classes).map(|class| class.to_string()).collect(),
        mean: vec![0.5; args.channels],
        std: vec![0.5; args.channels],
        ..config.sizes()
    };
    device.seed(1);
    let model = VisionTransformer::new(&sizes, config.dtype(&device), &device)?;
    let talk = Heartbeat::start("measuring");
    let batches: Vec<usize> = args.batch.iter().map(|batch| batch.get()).collect();
    let costs = Costs::of(&model.no_grad().rounded()?, &batches, &device)?;
    drop(talk);
    match args.json {
        true => println!("{}", serde_json::json!(costs)),
        false => println!("{costs}"),
    }
    Ok(())
}

//! `eval`

use burn::tensor::Device;
use tritburn_models::model::LoadOptions;

use crate::cli::ModelArgs;
use crate::data::{Conversation, Conversations, TrainingData};
use crate::error::Error;
use crate::evaluate::{self, Evaluation};
use crate::model::BaseModel;
use crate::train::{RunFolder, TrainConfig};
use tritburn::device;

pub(super) fn run(args: &ModelArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    let config = run.config()?;
    let corpus = match config.training_data()? {
        TrainingData::Text(corpus) => corpus,
        TrainingData::Conversations(talks) => return of_talks(&run, &config, &talks, &device),
    };
    let options = LoadOptions::for_device(&device);
    let trained = super::serve(&run.model(), &options, &device)?;
    let evaluation = Evaluation::new(&corpus, config.model.context, &device);
    let bytes_per_token = corpus.valid.bytes_per_token();
    let show = |name: &str, nats: f64| {
        println!(
            "{name:<8} {nats:.4} nats/token  {:.4} nats/byte  perplexity {:.3}",
            nats / bytes_per_token,
            nats.exp()
        );
    };
    println!(
        "{} held-out tokens of {}, {bytes_per_token:.2} bytes each",
        evaluation.tokens, corpus.source
    );
    show("unigram", evaluation.unigram_nats);
    show("trained", evaluation.served_loss(&trained)?);
    if run.packed().exists() {
        let packed = super::serve(&run.packed(), &options, &device)?;
        show("packed", evaluation.served_loss(&packed)?);
    }
    Ok(())
}

/// What a turn of the assistant costs the trained model, and what it cost the one that it was made of.
fn of_talks(
    run: &RunFolder,
    config: &TrainConfig,
    talks: &Conversations,
    device: &Device,
) -> Result<(), Error> {
    let tokens: usize = talks.valid.iter().map(Conversation::learned).sum();
    println!(
        "{tokens} held-out tokens of the assistant in {}",
        talks.source
    );
    let loss = |name: &str, base: &BaseModel| -> Result<(), Error> {
        let model = base.load(&config.model, device)?;
        let nats = evaluate::loss_of_talks(&model, &talks.valid, device)?;
        println!(
            "{name:<8} {nats:.4} nats/token  perplexity {:.3}",
            nats.exp()
        );
        Ok(())
    };
    if let Some(base) = &config.base {
        loss("before", base)?;
    }
    let trained = BaseModel {
        path: run.model(),
        ternarize: false,
    };
    loss("trained", &trained)
}

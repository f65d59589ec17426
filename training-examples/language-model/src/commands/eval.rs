//! `eval`

use tritburn_models::model::LoadOptions;

use crate::cli::ModelArgs;
use crate::error::Error;
use crate::evaluate::Evaluation;
use crate::train::RunFolder;
use tritburn::device;

pub(super) fn run(args: &ModelArgs) -> Result<(), Error> {
    let device = device::open(&args.device.device)?;
    let run = RunFolder::at(&args.output);
    let config = run.config()?;
    let options = LoadOptions::for_device(&device);
    let trained = super::serve(&run.model(), &options, &device)?;
    let corpus = config.corpus()?;
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

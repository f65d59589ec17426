//! Trains a model with 2-bit weights to turn its input around, packs it and saves it.
//!
//! `cargo run --example train_and_pack`

mod mlp;

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Distribution, Tensor};
use tritburn::{Pack, device, stats, store};

use mlp::{Mlp, SIZE, file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = device::open(device::default_name())?;
    device.seed(1);
    let x = Tensor::<2>::random([256, SIZE], Distribution::Uniform(-1.0, 1.0), &device);
    let target = x.clone().flip([1]).autodiff();

    // An ordinary Burn training: every forward pass quantises, gradients reach latent weights.
    let mut model = Mlp::new(&device.clone().autodiff());
    let mut optimizer = AdamWConfig::new().init();
    for step in 0..=400 {
        let y = model.forward(x.clone().autodiff());
        let loss = (y - target.clone()).square().mean();
        if step % 100 == 0 {
            println!(
                "step {step}: loss {:.4}",
                loss.clone().try_into_scalar::<f32>()?
            );
        }
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(3e-3, model, grads);
    }

    let trained = model.valid();
    let packed = trained.pack()?; // the same type and the same numbers
    let y = packed.forward(x.clone()).into_data();
    assert_eq!(y, trained.forward(x).into_data());

    let codes = stats::layer_codes(&packed)?;
    println!(
        "{:.0} % of weights are zero",
        100.0 * stats::zero_share(&codes)
    );
    store::save(&packed, file())?;
    println!("saved to {}", file().display());
    Ok(())
}

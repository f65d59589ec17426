//! Makes a 2-bit model of one that was trained in floats: a few steps of ternary training, then the
//! layers are taken over and packed.
//!
//! `cargo run --example from_a_float_model`

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Distribution, Tensor, activation::relu};
use tritburn::{BitLinear, BitLinearConfig, InputPrecision, Pack, device, ternarize_linears};

#[derive(Module, Debug)]
struct Mlp {
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.down.forward(relu(self.up.forward(x)))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = device::open(device::default_name())?;
    device.seed(1);
    let x = Tensor::<2>::random([256, 16], Distribution::Uniform(-1.0, 1.0), &device);
    let train = |mut model: Mlp, steps: usize| {
        let mut optimizer = AdamWConfig::new().init();
        for _ in 0..steps {
            let x = x.clone().autodiff();
            let loss = (model.forward(x.clone()) - x.flip([1])).square().mean();
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(3e-3, model, grads);
        }
        let loss = (model.valid().forward(x.clone()) - x.clone().flip([1]))
            .square()
            .mean();
        (model, loss.into_scalar::<f32>())
    };
    let layer = |from, to| LinearConfig::new(from, to).init(&device.clone().autodiff());
    let (up, down) = (layer(16, 64), layer(64, 16));
    let (float, loss) = train(Mlp { up, down }, 200);
    println!("trained in floats: loss {loss:.4}");

    let (_, loss) = train(ternarize_linears(float.clone())?, 0);
    println!("ternary at once:   loss {loss:.4}");
    let (ternary, loss) = train(ternarize_linears(float)?, 400);
    println!("ternary, trained:  loss {loss:.4}");

    // Burn's `Linear` multiplies dense weights; `BitLinear` takes them over and runs on codes.
    let config = BitLinearConfig::new(0, 0).with_input_precision(InputPrecision::Float);
    let Mlp { up, down } = ternary.valid();
    let up: BitLinear = BitLinear::from_linear(&up, &config)?.pack()?;
    let down: BitLinear = BitLinear::from_linear(&down, &config)?.pack()?;
    let y = down.forward(relu(up.forward(x.clone())));
    let loss = (y - x.flip([1])).square().mean().try_into_scalar::<f32>()?;
    println!("packed to 2 bits:  loss {loss:.4}");
    Ok(())
}

//! Loads the packed model that `train_and_pack` has saved, and runs it.
//!
//! `cargo run --example load_and_run`

mod mlp;

use burn::tensor::Tensor;
use tritburn::{device, stats, store};

use mlp::{Mlp, SIZE, file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = device::open(device::default_name())?;
    // The new model's latent weights are never initialised: the file holds packed ones.
    let model = store::load(&Mlp::new(&device), file())?;
    for layer in stats::layer_codes(&model)? {
        let [minus, zero, plus, _] = layer.histogram();
        let bytes = layer.layout.byte_count();
        println!(
            "{}: {minus} × -1, {zero} × 0, {plus} × 1 in {bytes} bytes",
            layer.path
        );
    }

    let x: [f32; SIZE] = std::array::from_fn(|i| i as f32 / SIZE as f32);
    let x = Tensor::<2>::from_floats([x], &device);
    let y = model.forward(x.clone());
    println!("in:  {:.2?}", x.clone().into_data().try_into_vec::<f32>()?);
    println!("out: {:.2?}", y.clone().into_data().try_into_vec::<f32>()?);
    let error = (y - x.flip([1])).abs().mean().try_into_scalar::<f32>()?;
    println!("mean distance from the input turned around: {error:.3}");
    Ok(())
}

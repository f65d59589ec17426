//! Output layer and cross entropy.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use super::super::backend::TrainingOps;
use super::super::operand::{LossOptions, Optional};
use super::check::{Rows, check_f32};
use crate::error::Error;
use crate::ops::{check_device, check_float, check_shape, check_word_dtype};

/// Bytes of logits and of their gradients that exist at a time, if a user names no chunk.
const CHUNK_BYTES: usize = 256 << 20;

/// What the loss is made of.
#[derive(Clone, Debug, Default)]
pub struct LossConfig {
    /// A target that counts for nothing: padding, or a token nobody should learn.
    pub ignore: Option<u32>,
    /// Weights of the labels, F32 `[vocabulary]`; all one if left out.
    pub label_weights: Option<Tensor<1>>,
    /// Factor z of `z · ln(Σ exp(logits))²`, which keeps logits small (Chowdhery et al. 2022,
    /// arXiv 2204.02311, section 5: 1e-4). 0 turns it off.
    pub z_loss: f32,
    /// Tokens whose logits exist at a time. If left out, as many as have 256 MiB of logits.
    pub chunk: Option<usize>,
}

/// The mean cross entropy of `targets` under the logits `x · tableᵀ`: with
/// `l = ln Σ_v exp(logit_v)` and the weight w of a target's label,
///
/// `Σ_t w · (l - logit_target + z · l²) / Σ_t w`.
///
/// Logits of all tokens never exist: the output layer runs in chunks of tokens, and where gradients
/// are asked for, a chunk's are made while its logits are there (as in Liger's fused linear cross
/// entropy, arXiv 2410.10989); the backward pass only scales them. Logits are rounded to the dtype of `x`,
/// statistics are f32, the gradient of the table is summed in f32.
///
/// If no target counts the loss is 0, and so are the gradients: a batch of padding changes nothing.
/// A target that is not below `vocabulary`, and is not ignored, makes the loss NaN.
///
/// # Shapes
/// `x` `[tokens, features]` of f32, bf16 or f16, `table` `[vocabulary, features]` of any float
/// dtype, which may be that of the embedding; `targets` U32 `[tokens]`. Returns F32 `[1]`.
/// Differentiable in `x` and `table`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`]; [`Error::EmptyChunk`] for chunks of no
/// tokens.
pub fn linear_cross_entropy(
    x: Tensor<2>,
    table: Tensor<2>,
    targets: Tensor<1, Int>,
    config: &LossConfig,
) -> Result<Tensor<1>, Error> {
    let options = check(&x, &table, &targets, config)?;
    if x.dims()[0] == 0 {
        return Ok(Tensor::zeros([1], &x.device()));
    }
    Ok(Tensor::from_dispatch(
        <Dispatch as TrainingOps>::linear_cross_entropy(
            x.into_dispatch(),
            table.into_dispatch(),
            targets.into_dispatch(),
            label_weights(config),
            options,
        ),
    ))
}

/// Losses of the single tokens and the weights of their targets, for evaluation: the sum of the
/// first over the sum of the second is [`linear_cross_entropy`]. An ignored target has a loss and a
/// weight of 0. No gradient flows through.
///
/// # Shapes
/// As [`linear_cross_entropy`]; returns two F32 `[tokens]`.
///
/// # Errors
/// As [`linear_cross_entropy`].
pub fn token_losses(
    x: Tensor<2>,
    table: Tensor<2>,
    targets: Tensor<1, Int>,
    config: &LossConfig,
) -> Result<(Tensor<1>, Tensor<1>), Error> {
    let options = check(&x, &table, &targets, config)?;
    if x.dims()[0] == 0 {
        let empty = || Tensor::zeros([0], &x.device());
        return Ok((empty(), empty()));
    }
    let (losses, weights) = <Dispatch as TrainingOps>::token_losses(
        x.into_dispatch(),
        table.into_dispatch(),
        targets.into_dispatch(),
        label_weights(config),
        options,
    );
    Ok((
        Tensor::from_dispatch(losses),
        Tensor::from_dispatch(weights),
    ))
}

fn check(
    x: &Tensor<2>,
    table: &Tensor<2>,
    targets: &Tensor<1, Int>,
    config: &LossConfig,
) -> Result<LossOptions, Error> {
    let [vocabulary, features] = table.dims();
    Rows::new("hidden states", x, features)?;
    check_float("output layer", table.dtype(), &table.device())?;
    check_device("output layer", &table.device(), &x.device())?;
    check_word_dtype("targets", targets.dtype())?;
    check_shape("targets", &targets.dims(), &[x.dims()[0]])?;
    check_device("targets", &targets.device(), &x.device())?;
    if vocabulary == 0 || features == 0 {
        return Err(Error::Shape {
            operand: "output layer",
            found: vec![vocabulary, features],
            expected: vec![vocabulary.max(1), features.max(1)],
        });
    }
    if let Some(weights) = &config.label_weights {
        check_f32("label weights", weights.dtype())?;
        check_shape("label weights", &weights.dims(), &[vocabulary])?;
        check_device("label weights", &weights.device(), &x.device())?;
    }
    let row = vocabulary * x.dtype().size();
    let chunk = config
        .chunk
        .unwrap_or_else(|| whole_tiles(CHUNK_BYTES / row));
    if chunk == 0 {
        return Err(Error::EmptyChunk);
    }
    Ok(LossOptions {
        ignore: config.ignore,
        z_loss: config.z_loss,
        chunk,
    })
}

/// At least one token, and whole tiles of the products where there are several.
fn whole_tiles(tokens: usize) -> usize {
    const TILE: usize = 256;
    match tokens {
        0 => 1,
        TILE.. => tokens / TILE * TILE,
        few => few,
    }
}

fn label_weights(config: &LossConfig) -> Optional<Dispatch> {
    config
        .label_weights
        .clone()
        .map(Tensor::into_dispatch)
        .into()
}

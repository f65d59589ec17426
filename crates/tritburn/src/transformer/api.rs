//! Checked tensor functions: shapes, dtypes and devices are verified here, once.

use std::ops::Range;

use burn::backend::Dispatch;
use burn::tensor::{DType, Int, Tensor};
use tritburn_formats::layout::activation_words_per_row;

use super::backend::TransformerOps;
use super::cache::LayerCache;
use super::heads::Heads;
use super::layout::CacheLayout;
use super::operand::Int8Rows;
use super::tokens::{Span, Tokens};
use crate::error::Error;
use crate::ops::{
    check_device, check_float, check_ready, check_shape, check_word_dtype, check_written,
    runs_kernels,
};
use crate::training::{GatedActivation, Norm};

/// Tokens from which a run is worth a kernel of its own.
const MIN_RUN: usize = 8;

/// Tokens of a launch over a cache of blocks, runs apart.
const MOST_SHARED: usize = 512;

/// Residual sum and root-mean-square norm (Zhang & Sennrich 2019, arXiv 1910.07467):
/// `(h, gamma · h / √(mean(h²) + epsilon))` with `h = x + residual` in the dtype of `x`.
///
/// # Shapes
/// `x` and `residual` `[tokens, features]` of one dtype, `gamma` `[features]` of any float dtype.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn rms_norm(
    x: Tensor<2>,
    residual: Option<Tensor<2>>,
    gamma: Tensor<1>,
    epsilon: f32,
) -> Result<(Tensor<2>, Tensor<2>), Error> {
    check_norm(&x, residual.as_ref(), &gamma)?;
    let residual = residual.map(Tensor::into_dispatch).into();
    let (h, y) = <Dispatch as TransformerOps>::rms_norm(
        x.into_dispatch(),
        residual,
        gamma.into_dispatch(),
        epsilon,
    );
    Ok((Tensor::from_dispatch(h), Tensor::from_dispatch(y)))
}

/// [`rms_norm`] with the normalised tokens quantised straight from f32: `(h, codes, scales)`, the
/// last two as [`quantize_activations`](crate::ops::quantize_activations) returns them.
///
/// # Errors
/// As [`rms_norm`].
pub fn rms_norm_quantize(
    x: Tensor<2>,
    residual: Option<Tensor<2>>,
    gamma: Tensor<1>,
    epsilon: f32,
) -> Result<(Tensor<2>, Tensor<1, Int>, Tensor<1>), Error> {
    check_norm(&x, residual.as_ref(), &gamma)?;
    let residual = residual.map(Tensor::into_dispatch).into();
    let (h, codes, scales) =
        Dispatch::rms_norm_quantize(x.into_dispatch(), residual, gamma.into_dispatch(), epsilon);
    Ok((
        Tensor::from_dispatch(h),
        Tensor::from_dispatch(codes),
        Tensor::from_dispatch(scales),
    ))
}

/// A gated unit, `g = f(gate) · up`, and its root-mean-square norm `gamma · g / √(mean(g²) + epsilon)`
/// where there is one: f32 until the result is rounded to the dtype of the input. `g` may overflow f16.
///
/// # Shapes
/// `gate_up` `[tokens, 2 · features]` with the gate first, gains `[features]`; returns
/// `[tokens, features]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn gated(
    gate_up: Tensor<2>,
    activation: GatedActivation,
    norm: Option<Norm>,
) -> Result<Tensor<2>, Error> {
    check_gated(&gate_up, norm.as_ref().map(|norm| &norm.gamma))?;
    let epsilon = norm.as_ref().map_or(0.0, |norm| norm.epsilon);
    let gamma = norm.map(|norm| norm.gamma.into_dispatch());
    Ok(Tensor::from_dispatch(<Dispatch as TransformerOps>::gated(
        gate_up.into_dispatch(),
        activation,
        gamma.into(),
        epsilon,
    )))
}

/// The norm of a [`gated`] unit, quantised straight from f32: codes and scales.
///
/// # Errors
/// As [`gated`].
pub fn gated_norm_quantize(
    gate_up: Tensor<2>,
    activation: GatedActivation,
    norm: Norm,
) -> Result<(Tensor<1, Int>, Tensor<1>), Error> {
    check_gated(&gate_up, Some(&norm.gamma))?;
    let (codes, scales) = Dispatch::gated_norm_quantize(
        gate_up.into_dispatch(),
        activation,
        norm.gamma.into_dispatch(),
        norm.epsilon,
    );
    Ok((Tensor::from_dispatch(codes), Tensor::from_dispatch(scales)))
}

/// Root-mean-square norms of the query and key heads of a fused projection, each head by itself, as
/// Qwen3 has them before it rotates. Values are copied.
///
/// # Shapes
/// `qkv` `[tokens, heads.fused_width()]`, `gains` F32 `[2 · heads.size]`, those of queries and then
/// those of keys; returns the shape and dtype of `qkv`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn norm_heads(
    qkv: Tensor<2>,
    gains: Tensor<1>,
    heads: Heads,
    epsilon: f32,
) -> Result<Tensor<2>, Error> {
    heads.check()?;
    check_written("q|k|v", qkv.dtype(), &qkv.device())?;
    let [tokens, _] = qkv.dims();
    check_shape("q|k|v", &qkv.dims(), &[tokens, heads.fused_width()])?;
    check_dtype("gains of heads", gains.dtype(), DType::F32, "f32")?;
    check_shape("gains of heads", &gains.dims(), &[2 * heads.size])?;
    check_device("gains of heads", &gains.device(), &qkv.device())?;
    check_ready(&qkv.device())?;
    Ok(Tensor::from_dispatch(Dispatch::norm_heads(
        qkv.into_dispatch(),
        gains.into_dispatch(),
        heads,
        epsilon,
    )))
}

/// Rotates the queries and keys of a fused projection by their positions (half-split pairs, as
/// Hugging Face transformers stores them) and writes keys and values to the cache.
///
/// # Shapes
/// `qkv` `[tokens, heads.fused_width()]` in the dtype of the cache, or any on Flex; `table` as
/// [`rotary_table`](super::rotary_table) makes it, with at least as many positions as the cache.
/// Returns the queries `[tokens, heads.query_width()]`. A token whose position is outside of the
/// cache is not stored.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn rotary_append(
    qkv: Tensor<2>,
    table: Tensor<1>,
    tokens: &Tokens,
    cache: &mut LayerCache,
) -> Result<Tensor<2>, Error> {
    let heads = cache.heads();
    check_tokens(&qkv, tokens)?;
    let blocks = check_blocks(tokens, cache)?;
    check_shape("q|k|v", &qkv.dims(), &[tokens.count(), heads.fused_width()])?;
    let positions = table.dims()[0] / heads.size;
    let needed = positions.max(cache.capacity()) * heads.size;
    check_shape("rotary table", &table.dims(), &[needed])?;
    check_dtype("rotary table", table.dtype(), DType::F32, "f32")?;
    check_cache(&qkv, cache)?;
    check_device("rotary table", &table.device(), &qkv.device())?;
    let layout = cache.layout();
    Ok(cache.update(|[keys, values]| {
        let (q, keys, values) = Dispatch::rotary_append(
            qkv.into_dispatch(),
            table.into_dispatch(),
            tokens.rows.clone().into_dispatch(),
            tokens.positions.clone().into_dispatch(),
            blocks.into_dispatch(),
            keys.into_dispatch(),
            values.into_dispatch(),
            layout,
        );
        let cache = [keys, values].map(Tensor::from_dispatch);
        (Tensor::from_dispatch(q), cache)
    }))
}

/// Causal grouped-query attention over the cache, with the usual scale `1 / √size`. Token `t` sees
/// positions `0..=positions[t]` of its row, itself included: append first.
///
/// # Shapes
/// `q` `[tokens, heads.query_width()]`, as [`rotary_append`] returns it, in the dtype of the cache, or
/// any on Flex; returns the same shape.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn attention(q: Tensor<2>, cache: &LayerCache, tokens: &Tokens) -> Result<Tensor<2>, Error> {
    let heads = cache.heads();
    check_tokens(&q, tokens)?;
    let blocks = check_blocks(tokens, cache)?;
    check_shape("queries", &q.dims(), &[tokens.count(), heads.query_width()])?;
    check_cache(&q, cache)?;
    let [keys, values] = cache.tensors();
    let run = |q: Tensor<2>, rows: Tensor<1, Int>, positions: Tensor<1, Int>, span| {
        Tensor::<2>::from_dispatch(Dispatch::attention(
            q.into_dispatch(),
            keys.clone().into_dispatch(),
            values.clone().into_dispatch(),
            rows.into_dispatch(),
            positions.into_dispatch(),
            blocks.clone().into_dispatch(),
            cache.layout(),
            span,
        ))
    };
    let (rows, positions) = (&tokens.rows, &tokens.positions);
    let parts = launches(tokens, cache.layout());
    if parts.len() < 2 {
        let span = parts.first().and_then(|&(_, span)| span);
        return Ok(run(q, rows.clone(), positions.clone(), span));
    }
    let parts = parts.into_iter().map(|(range, span)| {
        let of = |t: &Tensor<1, Int>| t.clone().narrow(0, range.start, range.len());
        let q = q.clone().narrow(0, range.start, range.len());
        run(q, of(rows), of(positions), span)
    });
    Ok(Tensor::cat(parts.collect(), 0))
}

/// What attention is launched for: each long run by itself, the tokens between them together.
fn launches(tokens: &Tokens, layout: CacheLayout) -> Vec<(Range<usize>, Option<Span>)> {
    // Cubes that share the positions of a row of blocks need scratch for each token.
    let most = match layout.block {
        None => usize::MAX,
        Some(_) => MOST_SHARED,
    };
    let short = |range: Range<usize>| {
        let end = range.end;
        let parts = range.step_by(most);
        parts.map(move |first| (first..end.min(first.saturating_add(most)), None))
    };
    let (mut parts, mut first) = (Vec::new(), 0);
    for &span in tokens.spans.iter().filter(|span| span.len >= MIN_RUN) {
        parts.extend(short(first..span.first));
        first = span.first + span.len;
        parts.push((span.first..first, Some(span)));
    }
    parts.extend(short(first..tokens.count()));
    parts
}

/// Rows of an embedding table in `dtype`; an id outside of the table gives NaN.
///
/// # Shapes
/// `table` `[vocabulary, features]`, `ids` U32 `[tokens]`; returns `[tokens, features]`.
///
/// # Errors
/// [`Error::DType`] or [`Error::Device`].
pub fn embedding(table: Tensor<2>, ids: Tensor<1, Int>, dtype: DType) -> Result<Tensor<2>, Error> {
    check_float("embedding table", table.dtype(), &table.device())?;
    check_written("embedding", dtype, &table.device())?;
    check_word_dtype("token ids", ids.dtype())?;
    check_device("token ids", &ids.device(), &table.device())?;
    check_ready(&table.device())?;
    Ok(Tensor::from_dispatch(Dispatch::embedding(
        table.into_dispatch(),
        ids.into_dispatch(),
        dtype,
    )))
}

/// Logits `x · tableᵀ`, accumulated and returned in f32. The table is read once for up to 16
/// tokens.
///
/// # Shapes
/// `x` `[tokens, features]`, `table` `[vocabulary, features]`, each of any float dtype; returns
/// F32 `[tokens, vocabulary]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn dense_head(x: Tensor<2>, table: Tensor<2>) -> Result<Tensor<2>, Error> {
    check_float("input", x.dtype(), &x.device())?;
    check_float("head", table.dtype(), &table.device())?;
    let [vocabulary, _] = table.dims();
    check_shape("head", &table.dims(), &[vocabulary, x.dims()[1]])?;
    check_device("head", &table.device(), &x.device())?;
    check_ready(&x.device())?;
    Ok(Tensor::from_dispatch(Dispatch::dense_head(
        x.into_dispatch(),
        table.into_dispatch(),
    )))
}

/// Logits from a head of int8 rows, `x` quantised per token: half the memory of an f16 head, with
/// an error of about half a percent of a logit's scale. Products are exact, so that a token's logits have the
/// same bits on every device and beside any number of other tokens.
///
/// # Shapes
/// `x` `[tokens, features]`; `codes` and `scales` as
/// [`quantize_activations`](crate::ops::quantize_activations) returns them for a matrix
/// `[vocabulary, features]`. Returns F32 `[tokens, vocabulary]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn int8_head(
    x: Tensor<2>,
    codes: Tensor<1, Int>,
    scales: Tensor<1>,
) -> Result<Tensor<2>, Error> {
    check_written("input", x.dtype(), &x.device())?;
    check_word_dtype("head codes", codes.dtype())?;
    check_dtype("head scales", scales.dtype(), DType::F32, "f32")?;
    let words = scales.dims()[0] * activation_words_per_row(x.dims()[1]);
    check_shape("head codes", &codes.dims(), &[words])?;
    check_device("head codes", &codes.device(), &x.device())?;
    check_device("head scales", &scales.device(), &x.device())?;
    check_ready(&x.device())?;
    let table = Int8Rows {
        codes: codes.into_dispatch(),
        scales: scales.into_dispatch(),
    };
    Ok(Tensor::from_dispatch(Dispatch::int8_head(
        x.into_dispatch(),
        table,
    )))
}

/// Index of the largest logit of each token, the lowest of equals.
///
/// # Shapes
/// `logits` F32 `[tokens, vocabulary]`; returns U32 `[tokens]`, `vocabulary` for a token with a NaN.
///
/// # Errors
/// [`Error::DType`].
pub fn argmax(logits: Tensor<2>) -> Result<Tensor<1, Int>, Error> {
    check_dtype("logits", logits.dtype(), DType::F32, "f32")?;
    check_ready(&logits.device())?;
    Ok(Tensor::from_dispatch(Dispatch::argmax(
        logits.into_dispatch(),
    )))
}

/// A token for each row, drawn from `softmax(logits / temperature)`: that of the largest
/// `logit + temperature · g` with Gumbel noise `g` (the Gumbel-max trick: Gumbel 1954; Maddison, Tarlow and Minka,
/// arXiv 1411.0030). A row's noise depends on its seed and position alone, not on the other rows.
///
/// # Shapes
/// `logits` F32 `[tokens, vocabulary]`; `draws` U32 `[3 · tokens]`, for each row the bits of its temperature, an
/// f32 (0 takes the largest logit), and two words of seed; `positions` U32 `[tokens]`. Returns U32 `[tokens]`,
/// `vocabulary` for a token with a NaN.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn draw(
    logits: Tensor<2>,
    draws: Tensor<1, Int>,
    positions: Tensor<1, Int>,
) -> Result<Tensor<1, Int>, Error> {
    check_dtype("logits", logits.dtype(), DType::F32, "f32")?;
    let [tokens, _] = logits.dims();
    for (name, operand, rows) in [
        ("draws", &draws, 3 * tokens),
        ("positions", &positions, tokens),
    ] {
        check_word_dtype(name, operand.dtype())?;
        check_shape(name, &operand.dims(), &[rows])?;
        check_device(name, &operand.device(), &logits.device())?;
    }
    check_ready(&logits.device())?;
    Ok(Tensor::from_dispatch(Dispatch::draw(
        logits.into_dispatch(),
        draws.into_dispatch(),
        positions.into_dispatch(),
    )))
}

/// Makes `ids` the next `tokens` and moves `positions` on by one, in place on CubeCL devices.
///
/// # Shapes
/// All U32 `[rows]`.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn advance(
    tokens: Tensor<1, Int>,
    positions: Tensor<1, Int>,
    ids: Tensor<1, Int>,
) -> Result<(Tensor<1, Int>, Tensor<1, Int>), Error> {
    check_words("positions", &positions, &tokens)?;
    check_words("ids", &ids, &tokens)?;
    let (tokens, positions) = Dispatch::advance(
        tokens.into_dispatch(),
        positions.into_dispatch(),
        ids.into_dispatch(),
    );
    Ok((
        Tensor::from_dispatch(tokens),
        Tensor::from_dispatch(positions),
    ))
}

/// Writes `source` over `target`, in place on CubeCL devices: a captured graph that reads `target`
/// then reads the new values.
///
/// # Shapes
/// Both U32 of one length.
///
/// # Errors
/// [`Error::Shape`], [`Error::DType`] or [`Error::Device`].
pub fn overwrite(target: Tensor<1, Int>, source: Tensor<1, Int>) -> Result<Tensor<1, Int>, Error> {
    check_words("source", &source, &target)?;
    Ok(Tensor::from_dispatch(Dispatch::overwrite(
        target.into_dispatch(),
        source.into_dispatch(),
    )))
}

fn check_norm(x: &Tensor<2>, residual: Option<&Tensor<2>>, gamma: &Tensor<1>) -> Result<(), Error> {
    check_written("input", x.dtype(), &x.device())?;
    check_gamma(gamma, x, x.dims()[1])?;
    if let Some(residual) = residual {
        check_shape("residual", &residual.dims(), &x.dims())?;
        let expected = "the dtype of the input";
        check_dtype("residual", residual.dtype(), x.dtype(), expected)?;
        check_device("residual", &residual.device(), &x.device())?;
    }
    check_ready(&x.device())
}

fn check_gated(gate_up: &Tensor<2>, gamma: Option<&Tensor<1>>) -> Result<(), Error> {
    check_written("gate|up", gate_up.dtype(), &gate_up.device())?;
    let [tokens, width] = gate_up.dims();
    check_shape("gate|up", &[tokens, width], &[tokens, width / 2 * 2])?;
    if let Some(gamma) = gamma {
        check_shape("gate|up", &[tokens, width], &[tokens, 2 * gamma.dims()[0]])?;
        check_gamma(gamma, gate_up, width / 2)?;
    }
    check_ready(&gate_up.device())
}

fn check_gamma(gamma: &Tensor<1>, x: &Tensor<2>, features: usize) -> Result<(), Error> {
    check_float("norm weight", gamma.dtype(), &gamma.device())?;
    check_shape("norm weight", &gamma.dims(), &[features])?;
    check_device("norm weight", &gamma.device(), &x.device())
}

pub(super) fn check_tokens(x: &Tensor<2>, tokens: &Tokens) -> Result<(), Error> {
    check_written("input", x.dtype(), &x.device())?;
    check_shape("cache rows", &tokens.rows.dims(), &[x.dims()[0]])?;
    check_words("positions", &tokens.positions, &tokens.rows)?;
    check_device("positions", &tokens.positions.device(), &x.device())
}

/// The blocks of rows, of which there are some if the cache is made of blocks; else any words.
pub(super) fn check_blocks(tokens: &Tokens, cache: &LayerCache) -> Result<Tensor<1, Int>, Error> {
    let per_row = cache.layout().blocks_per_row();
    let blocks = match (cache.layout().block, &tokens.blocks) {
        (None, _) => return Ok(tokens.rows.clone()),
        (Some(_), Some(blocks)) => blocks,
        (Some(_), None) => {
            check_shape("block table", &[0], &[per_row])?;
            return Ok(tokens.rows.clone());
        }
    };
    let len = blocks.dims()[0];
    check_word_dtype("block table", blocks.dtype())?;
    check_shape("block table", &[len], &[(len / per_row).max(1) * per_row])?;
    check_device("block table", &blocks.device(), &tokens.rows.device())?;
    Ok(blocks.clone())
}

pub(super) fn check_cache(x: &Tensor<2>, cache: &LayerCache) -> Result<(), Error> {
    let device = x.device();
    check_device("cache", &cache.tensors()[0].device(), &device)?;
    check_cache_dtype(cache.dtype(), x.dtype(), runs_kernels(&device))?;
    check_ready(&device)
}

/// Kernels are compiled for one type of hidden states and cache; Flex converts while it reads.
fn check_cache_dtype(cache: DType, hidden: DType, kernels: bool) -> Result<(), Error> {
    match kernels {
        true => check_dtype("cache", cache, hidden, "the dtype of the hidden states"),
        false => Ok(()),
    }
}

fn check_words(
    operand: &'static str,
    found: &Tensor<1, Int>,
    like: &Tensor<1, Int>,
) -> Result<(), Error> {
    check_word_dtype(operand, found.dtype())?;
    check_word_dtype(operand, like.dtype())?;
    check_shape(operand, &found.dims(), &like.dims())?;
    check_device(operand, &found.device(), &like.device())?;
    check_ready(&found.device())
}

pub(super) fn check_dtype(
    operand: &'static str,
    found: DType,
    expected: DType,
    name: &'static str,
) -> Result<(), Error> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::DType {
            operand,
            found,
            expected: name,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_another_type_is_refused_where_kernels_read_it() {
        assert!(check_cache_dtype(DType::F16, DType::F32, false).is_ok());
        assert!(check_cache_dtype(DType::BF16, DType::BF16, true).is_ok());
        let refused = check_cache_dtype(DType::F16, DType::BF16, true);
        let Err(Error::DType { found, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(found, DType::F16);
    }
}

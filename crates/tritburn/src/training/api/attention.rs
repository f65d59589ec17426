//! Attention of whole sequences.

use burn::backend::Dispatch;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Tensor, module};

use super::super::backend::TrainingOps;
use super::super::operand::{Optional, Sequences};
use super::check::{Rows, check_f32};
use crate::error::Error;
use crate::ops::{check_device, check_shape, runs_kernels};
use crate::transformer::Heads;

/// Rotary embedding (Su et al. 2021, arXiv 2104.09864) and causal attention with grouped heads
/// (Ainslie et al. 2023, arXiv 2305.13245): `softmax(q · kᵀ / √size) · v` over the tokens up to
/// each token of its sequence. Token t stands at position t.
///
/// No matrix of `[length, length]` is held: the backward pass computes scores again (Dao et al.
/// 2022, arXiv 2205.14135).
///
/// # Shapes
/// `qkv` `[batch, length, heads.fused_width()]` of f32, bf16 or f16: queries, keys, values. `table`
/// as [`rotary_table`](crate::training::rotary_table) makes it, of at least `length` positions;
/// without one nothing is rotated. Returns `[batch, length, heads.query_width()]` in the dtype of
/// `qkv`, and is differentiable in it.
///
/// # Errors
/// [`Error::Heads`] for heads that do not fit each other, [`Error::HeadSize`] for a size that a
/// CubeCL device has no kernels for, [`Error::InputFeatures`], [`Error::Shape`], [`Error::DType`] or
/// [`Error::Device`].
pub fn rotary_attention(
    qkv: Tensor<3>,
    table: Option<Tensor<1>>,
    heads: Heads,
) -> Result<Tensor<3>, Error> {
    heads.check()?;
    let rows = Rows::new("q|k|v", &qkv, heads.fused_width())?;
    let device = qkv.device();
    if runs_kernels(&device) && !heads.has_kernels() {
        return Err(Error::HeadSize {
            device: format!("{device:?}"),
            found: heads.size,
        });
    }
    let [batch, length, _] = qkv.dims();
    if let Some(table) = &table {
        check_f32("rotary table", table.dtype())?;
        let positions = (table.dims()[0] / heads.size).max(length);
        check_shape("rotary table", &table.dims(), &[positions * heads.size])?;
        check_device("rotary table", &table.device(), &device)?;
    }
    let sequences = Sequences {
        heads,
        batch,
        causal: true,
    };
    Ok(fused(rows, qkv, table, sequences))
}

fn fused(
    rows: Rows<3>,
    qkv: Tensor<3>,
    table: Option<Tensor<1>>,
    sequences: Sequences,
) -> Tensor<3> {
    let table: Optional<Dispatch> = table.map(Tensor::into_dispatch).into();
    rows.map(qkv, sequences.heads.query_width(), |qkv| {
        let qkv = qkv.into_dispatch();
        Tensor::from_dispatch(<Dispatch as TrainingOps>::rotary_attention(
            qkv, table, sequences,
        ))
    })
}

/// Attention with grouped heads and without positions: `softmax(q · kᵀ / √size) · v` over all tokens of
/// a sequence, or over those up to each token if it is `causal`.
///
/// It is one operation, which holds scores of a block of queries only: on Flex for heads of even size, on
/// CubeCL devices for causal attention with the heads of [`rotary_attention`]. Everything else is composed
/// of Burn's `attention`, which under Autodiff holds scores `[length, length]`.
///
/// # Shapes
/// `qkv` `[batch, length, heads.fused_width()]` of f32, bf16 or f16: queries, keys, values. Returns
/// `[batch, length, heads.query_width()]` in the dtype of `qkv`, and is differentiable in it.
///
/// # Errors
/// [`Error::Heads`] for heads that do not fit each other, [`Error::InputFeatures`], [`Error::DType`], and
/// on CUDA devices that of its set-up.
///
/// # Examples
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use tritburn::training::{Heads, attention};
///
/// // One query head and one key-value head of 2 floats; keys alike: the mean of the values.
/// let heads = Heads { query: 1, key_value: 1, size: 2 };
/// let device = Device::flex();
/// let qkv = Tensor::<3>::from_floats(
///     [[[1., 0., 0., 0., 2., 4.], [0., 1., 0., 0., 6., 8.]]],
///     &device,
/// );
/// let y = attention(qkv, heads, false)?;
/// assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [4., 6., 4., 6.]);
/// # Ok::<(), tritburn::Error>(())
/// ```
pub fn attention(qkv: Tensor<3>, heads: Heads, causal: bool) -> Result<Tensor<3>, Error> {
    heads.check_unrotated()?;
    let rows = Rows::new("q|k|v", &qkv, heads.fused_width())?;
    let sequences = Sequences {
        heads,
        batch: qkv.dims()[0],
        causal,
    };
    let has_kernels = match runs_kernels(&qkv.device()) {
        true => causal && heads.has_kernels(),
        false => heads.size.is_multiple_of(2),
    };
    let is_empty = qkv.shape().num_elements() == 0;
    Ok(match has_kernels || is_empty {
        true => fused(rows, qkv, None, sequences),
        false => composed(qkv, sequences),
    })
}

fn composed(qkv: Tensor<3>, sequences: Sequences) -> Tensor<3> {
    let Sequences {
        heads,
        batch,
        causal,
    } = sequences;
    let length = qkv.dims()[1];
    let (shared, size) = (heads.key_value, heads.size);
    let group = heads.query / shared;
    let (query, key) = (heads.query_width(), heads.key_value_width());
    let part = |start, width| qkv.clone().narrow(2, start, width);
    let of_heads = |x: Tensor<3>| x.reshape([batch, length, shared, size]).swap_dims(1, 2);
    let q = part(0, query).reshape([batch, length, shared, group, size]);
    let q = q.permute([0, 2, 3, 1, 4]);
    let (k, v) = (of_heads(part(query, key)), of_heads(part(query + key, key)));
    let options = |is_causal| AttentionModuleOptions {
        is_causal,
        ..Default::default()
    };
    let out: Tensor<5> = match causal {
        // All queries that share keys are one head of more queries: nothing is copied.
        false => {
            let q = q.reshape([batch, shared, group * length, size]);
            let out = module::attention(q, k, v, None, None, options(false));
            out.reshape([batch, shared, group, length, size])
        }
        true => {
            let each = |x: Tensor<4>| {
                let x: Tensor<5> = x.unsqueeze_dim(2);
                let x = x.expand([batch, shared, group, length, size]);
                x.reshape([batch, shared * group, length, size])
            };
            let q = q.reshape([batch, shared * group, length, size]);
            let out = module::attention(q, each(k), each(v), None, None, options(true));
            out.reshape([batch, shared, group, length, size])
        }
    };
    out.permute([0, 3, 1, 2, 4]).reshape([batch, length, query])
}

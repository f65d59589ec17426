//! What stands between the products of a layer, with gradients.

use burn::nn::RmsNorm;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::activation::relu;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{DType, Int, Tensor};
use tritburn::transformer::Heads;

/// `gamma · x / √(mean(x²) + epsilon)`, statistics in f32, in the dtype of `x`.
pub(super) fn rms_norm(x: Tensor<3>, norm: &RmsNorm) -> Tensor<3> {
    let dtype = x.dtype();
    let x = x.cast(DType::F32);
    let square = x.clone().square().mean_dim(2);
    let x = x / (square + norm.epsilon).sqrt();
    (x * norm.gamma.val().unsqueeze()).cast(dtype)
}

/// `relu(gate)² · up` of `gate_up` `[.., 2 · features]`, the gate first.
pub(super) fn relu2_gate(gate_up: Tensor<3>) -> Tensor<3> {
    let features = gate_up.dims()[2] / 2;
    let gate = relu(gate_up.clone().narrow(2, 0, features));
    gate.square() * gate_up.narrow(2, features, features)
}

/// Rotates queries and keys by their positions (half-split pairs) and attends causally.
/// `qkv` `[batch, length, heads.fused_width()]`, `table` as
/// [`rotary_table`](tritburn::transformer::rotary_table) makes it; returns
/// `[batch, length, heads.query_width()]`.
pub(super) fn rotary_attention(qkv: Tensor<3>, table: &Tensor<1>, heads: Heads) -> Tensor<3> {
    let [batch, length, _] = qkv.dims();
    let (query, key_value) = (heads.query_width(), heads.key_value_width());
    let split = |start, count: usize| {
        let part = qkv.clone().narrow(2, start, count * heads.size);
        part.reshape([batch, length, count, heads.size])
            .swap_dims(1, 2)
    };
    let q = rotate(split(0, heads.query), table);
    let k = rotate(split(query, heads.key_value), table);
    let v = split(query + key_value, heads.key_value);
    let shared = heads.query / heads.key_value;
    let causal = AttentionModuleOptions {
        is_causal: true,
        ..Default::default()
    };
    attention(q, repeat(k, shared), repeat(v, shared), None, None, causal)
        .swap_dims(1, 2)
        .reshape([batch, length, query])
}

/// Turns element `d` of each head with element `d + size / 2`.
fn rotate(x: Tensor<4>, table: &Tensor<1>) -> Tensor<4> {
    let [_, _, length, size] = x.dims();
    let half = size / 2;
    let dtype = x.dtype();
    let rows = table.clone().narrow(0, 0, length * size);
    let rows = rows.reshape([1, 1, length, size]);
    let (cos, sin) = (rows.clone().narrow(3, 0, half), rows.narrow(3, half, half));
    let x = x.cast(DType::F32);
    let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    let turned = vec![
        a.clone() * cos.clone() - b.clone() * sin.clone(),
        b * cos + a * sin,
    ];
    Tensor::cat(turned, 3).cast(dtype)
}

/// Each key or value head, once for every query head that it serves.
fn repeat(x: Tensor<4>, times: usize) -> Tensor<4> {
    let [batch, heads, length, size] = x.dims();
    if times == 1 {
        return x;
    }
    x.reshape([batch, heads, 1, length * size])
        .repeat_dim(2, times)
        .reshape([batch, heads * times, length, size])
}

/// Mean cross entropy in nats of `x` `[tokens, hidden]` against `targets` `[tokens]`, with the output
/// layer `table` `[vocabulary, hidden]`; f32.
pub(super) fn linear_cross_entropy(
    x: Tensor<2>,
    table: Tensor<2>,
    targets: Tensor<1, Int>,
) -> Tensor<1> {
    let logits = x.cast(DType::F32).matmul(table.transpose());
    let loss = CrossEntropyLossConfig::new().init(&logits.device());
    loss.forward(logits, targets)
}

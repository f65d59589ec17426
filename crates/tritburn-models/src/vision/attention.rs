//! Attention between the patches of an image.

use burn::tensor::Tensor;
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use tritburn::training::Heads;

/// `softmax(q · kᵀ / √size) · v`, where query heads in a row share a key-value head (Ainslie et al. 2023,
/// arXiv 2305.13245).
///
/// # Shapes
/// `qkv` `[batch, tokens, heads.fused_width()]`: queries, keys, values. Returns
/// `[batch, tokens, heads.query_width()]`.
pub fn attend(qkv: Tensor<3>, heads: Heads, causal: bool) -> Tensor<3> {
    let [batch, tokens, _] = qkv.dims();
    let (shared, size) = (heads.key_value, heads.size);
    let group = heads.query / shared;
    let (query, key) = (heads.query * size, shared * size);
    let part = |start, width| qkv.clone().narrow(2, start, width);
    let of_heads = |x: Tensor<3>| x.reshape([batch, tokens, shared, size]).swap_dims(1, 2);
    let q = part(0, query).reshape([batch, tokens, shared, group, size]);
    let q = q.permute([0, 2, 3, 1, 4]);
    let (k, v) = (of_heads(part(query, key)), of_heads(part(query + key, key)));
    let options = |is_causal| AttentionModuleOptions {
        is_causal,
        ..Default::default()
    };
    let out: Tensor<5> = match causal {
        // All queries that share keys are one head of more queries: nothing is copied.
        false => {
            let q = q.reshape([batch, shared, group * tokens, size]);
            let out = attention(q, k, v, None, None, options(false));
            out.reshape([batch, shared, group, tokens, size])
        }
        true => {
            let each = |x: Tensor<4>| {
                let x: Tensor<5> = x.unsqueeze_dim(2);
                let x = x.expand([batch, shared, group, tokens, size]);
                x.reshape([batch, shared * group, tokens, size])
            };
            let q = q.reshape([batch, shared * group, tokens, size]);
            let out = attention(q, each(k), each(v), None, None, options(true));
            out.reshape([batch, shared, group, tokens, size])
        }
    };
    out.permute([0, 3, 1, 2, 4]).reshape([batch, tokens, query])
}

//! All layers of a decoder for one token, in one launch.

use burn::backend::Dispatch;
use burn::tensor::{DType, Device, Int, Tensor};
use tritburn_formats::WeightCode;

use super::api::{check_blocks, check_cache, check_dtype, check_tokens};
use super::backend::TransformerOps;
use super::cache::LayerCache;
use super::heads::Heads;
use super::operand::StackLayer;
use super::tokens::Tokens;
use crate::error::Error;
use crate::ops::{FrozenWeight, check_device, check_ready, check_shape};
use crate::training::GatedActivation;

/// U32 words of the table of addresses, for each layer.
const WORDS: usize = 32;

/// What the layers of a stack have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StackShape {
    /// Number of layers.
    pub layers: usize,
    /// Features of the residual stream.
    pub hidden: usize,
    /// Features between gate and down.
    pub inner: usize,
    /// Shape of the attention.
    pub heads: Heads,
    /// What `up` is multiplied by.
    pub activation: GatedActivation,
    /// Whether attended heads and gated values are normalised before their projection.
    pub sub_norms: bool,
    /// Code table of all weights.
    pub code: WeightCode,
    /// Dtype of the residual stream, of keys and of values.
    pub dtype: DType,
    /// Positions of the rotary table.
    pub rotary_positions: usize,
}

/// The weights of a layer. Norms are F32 gains; without sub-norms those of sub-norms are not read.
#[derive(Clone, Copy, Debug)]
pub struct StackWeights<'a> {
    /// `[heads.fused_width(), hidden]`.
    pub qkv: &'a FrozenWeight,
    /// `[hidden, heads.query_width()]`.
    pub output: &'a FrozenWeight,
    /// Gate, then up: `[2 · inner, hidden]`.
    pub gate_up: &'a FrozenWeight,
    /// `[hidden, inner]`.
    pub down: &'a FrozenWeight,
    /// `[hidden]`, in front of q|k|v.
    pub input_norm: &'a Tensor<1>,
    /// `[heads.query_width()]`.
    pub attention_sub_norm: &'a Tensor<1>,
    /// `[hidden]`, in front of gate and up.
    pub post_attention_norm: &'a Tensor<1>,
    /// `[inner]`.
    pub ffn_sub_norm: &'a Tensor<1>,
}

/// The right to run stacks of a shape on a device, from the thread that asked for it.
///
/// The cubes of a stack wait for each other, and those of two stacks that run side by side could wait for ever:
/// while a thread has the right, no other thread gets it for the same device.
#[derive(Debug)]
pub struct Stack {
    shape: StackShape,
    device: Device,
    #[cfg(feature = "cube")]
    _claim: super::scratch::StackClaim,
}

impl Stack {
    /// The right for `shape`; `None` if the device has no kernel for it, or another thread has the right.
    pub fn claim(shape: StackShape, device: &Device) -> Option<Self> {
        #[cfg(feature = "cube")]
        {
            let claim = super::scratch::StackClaim::new(crate::ops::cube_device(device)?, shape)?;
            Some(Self {
                shape,
                device: device.clone(),
                _claim: claim,
            })
        }
        #[cfg(not(feature = "cube"))]
        {
            let _ = (shape, device);
            None
        }
    }

    /// A table for the addresses of all layers: U32 zeros.
    pub fn table(&self) -> Tensor<1, Int> {
        Tensor::zeros([self.shape.layers * WORDS], (&self.device, DType::U32))
    }

    /// Writes where the operands of layer `index` lie to `table`, in place, and returns it.
    ///
    /// They may move until a graph has recorded this: record all layers in one, replay it once and keep it for
    /// as long as [`run`](Self::run) reads the table.
    ///
    /// # Errors
    /// [`Error::Stack`] for weights that are not in fragment order for int8, [`Error::Shape`],
    /// [`Error::DType`], [`Error::Device`].
    pub fn record(
        &self,
        table: Tensor<1, Int>,
        index: usize,
        weights: StackWeights<'_>,
        rotary: &Tensor<1>,
        cache: &LayerCache,
    ) -> Result<Tensor<1, Int>, Error> {
        let shape = self.shape;
        let (device, hidden, heads) = (table.device(), shape.hidden, shape.heads);
        check_ready(&device)?;
        check_shape("address table", &table.dims(), &[shape.layers * WORDS])?;
        check_dtype("rotary table", rotary.dtype(), DType::F32, "f32")?;
        let angles = shape.rotary_positions * heads.size;
        check_shape("rotary table", &rotary.dims(), &[angles])?;
        check_device("rotary table", &rotary.device(), &device)?;
        let stream = "the dtype of the stream";
        check_dtype("cache", cache.dtype(), shape.dtype, stream)?;
        check_device("cache", &cache.tensors()[0].device(), &device)?;
        let gains = [
            ("input norm", weights.input_norm, hidden),
            ("post-attention norm", weights.post_attention_norm, hidden),
            (
                "attention sub-norm",
                weights.attention_sub_norm,
                heads.query_width(),
            ),
            ("feed-forward sub-norm", weights.ffn_sub_norm, shape.inner),
        ];
        for (what, gains, len) in &gains[..if shape.sub_norms { 4 } else { 2 }] {
            check_dtype(what, gains.dtype(), DType::F32, "f32")?;
            check_shape(what, &gains.dims(), &[*len])?;
            check_device(what, &gains.device(), &device)?;
        }
        let of = |weight: &FrozenWeight, expected: [usize; 2]| {
            let layout = weight.layout();
            let found = [layout.out_features(), layout.in_features()];
            check_shape("weight of a stack", &found, &expected)?;
            let fragments = weight.int8_fragments();
            let fragments = fragments.filter(|_| layout.code() == shape.code);
            let (words, scales) = fragments.ok_or(Error::Stack)?;
            check_device("weight of a stack", &words.device(), &device)?;
            Ok::<_, Error>((words.into_dispatch(), scales.into_dispatch()))
        };
        let (qkv, qkv_scales) = of(weights.qkv, [heads.fused_width(), hidden])?;
        let (output, output_scales) = of(weights.output, [hidden, heads.query_width()])?;
        let (gate_up, gate_up_scales) = of(weights.gate_up, [2 * shape.inner, hidden])?;
        let (down, down_scales) = of(weights.down, [hidden, shape.inner])?;
        let [keys, values] = cache.tensors();
        let float = |tensor: &Tensor<1>| tensor.clone().into_dispatch();
        let layer = StackLayer::<Dispatch> {
            qkv,
            qkv_scales,
            output,
            output_scales,
            gate_up,
            gate_up_scales,
            down,
            down_scales,
            input_norm: float(weights.input_norm),
            attention_sub_norm: float(weights.attention_sub_norm),
            post_attention_norm: float(weights.post_attention_norm),
            ffn_sub_norm: float(weights.ffn_sub_norm),
            rotary: float(rotary),
            keys: float(keys),
            values: float(values),
        };
        Ok(Tensor::from_dispatch(Dispatch::record_stack(
            table.into_dispatch(),
            layer,
            cache.layout(),
            shape,
            index,
        )))
    }

    /// Runs the layers that [`record`](Self::record) wrote to `table` on the residual stream `x` of one token:
    /// the stream, and what the last layer adds to it. Keys and values go to the caches, of which `cache` is
    /// any. Both results have the bits of the separate operations where the cache is made of blocks; over
    /// contiguous rows attention adds in another order.
    ///
    /// The second result holds NaN if the device gave up: cubes wait for each other for some seconds at most.
    ///
    /// # Shapes
    /// `x` `[1, hidden]` in the stack's dtype, as both results.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::DType`], [`Error::Device`].
    pub fn run(
        &self,
        x: Tensor<2>,
        table: Tensor<1, Int>,
        tokens: &Tokens,
        cache: &LayerCache,
        epsilon: f32,
    ) -> Result<(Tensor<2>, Tensor<2>), Error> {
        let shape = self.shape;
        check_tokens(&x, tokens)?;
        check_shape("stream of a stack", &x.dims(), &[1, shape.hidden])?;
        check_dtype("stream of a stack", x.dtype(), shape.dtype, "its dtype")?;
        check_shape("address table", &table.dims(), &[shape.layers * WORDS])?;
        check_device("address table", &table.device(), &x.device())?;
        check_cache(&x, cache)?;
        let blocks = check_blocks(tokens, cache)?;
        let [keys, values] = cache.tensors();
        let (sum, delta) = Dispatch::stack(
            x.into_dispatch(),
            table.into_dispatch(),
            tokens.rows.clone().into_dispatch(),
            tokens.positions.clone().into_dispatch(),
            blocks.into_dispatch(),
            keys.clone().into_dispatch(),
            values.clone().into_dispatch(),
            cache.layout(),
            shape,
            epsilon,
        );
        Ok((Tensor::from_dispatch(sum), Tensor::from_dispatch(delta)))
    }
}

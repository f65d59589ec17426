//! Launch arguments that the tensor-core GEMMs have in common.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use super::input::TokenBytes;
use super::stage::{TileExtents, tile_extents};
use crate::device::address;
use crate::error::KernelError;
use crate::prepack::PrepackedWeights;
use crate::product::{Call, Input};

/// The operands of a product except activations and output, and its sizes.
#[derive(CubeType, CubeLaunch)]
pub(super) struct ProductArgs<B: Float> {
    /// Scales of tokens. `None` for float activations, also if the kernel quantises them.
    pub x_scales: ComptimeOption<&'static [f32]>,
    /// Prepacked words.
    pub words: &'static [u32],
    /// Scales of weight rows.
    pub row_scales: &'static [f32],
    /// A bias per weight row.
    pub bias: ComptimeOption<&'static [B]>,
    /// Runtime sizes.
    pub extents: TileExtents,
    /// Code table of the weights.
    #[cube(comptime)]
    pub code: WeightCode,
    /// Whether the output is the i32 sums, without scales.
    #[cube(comptime)]
    pub integers: bool,
}

/// How a launch binds the output.
pub(super) struct Binding {
    /// Index width for the largest operand.
    pub address: AddressType,
    /// The output in lines of `width`.
    pub y: BufferArg,
    /// Elements of a row that one store writes.
    pub width: usize,
    /// Row stride, in elements.
    pub y_stride: usize,
    /// Type of the output.
    pub y_type: ElemType,
    /// Type of the kernel's bias argument, whether or not there is a bias.
    pub bias_type: ElemType,
}

impl Binding {
    /// Binds the output of `call`.
    ///
    /// # Errors
    /// [`KernelError::AddressWidth`].
    pub fn of(client: &Client, call: &Call<'_>) -> Result<Self, KernelError> {
        let width = call.pair_width();
        let (y, y_stride, y_type) = call.output_lines(width);
        Ok(Self {
            address: address(client, &call.extents())?,
            y,
            width,
            y_stride,
            y_type,
            bias_type: call.bias_dtype(),
        })
    }
}

/// The arguments of `call` with `weights`; `tokens` locates the activations.
pub(super) fn product_args<B: Float>(
    call: &Call<'_>,
    weights: &PrepackedWeights,
    tokens: TokenBytes,
    y_stride: usize,
) -> ProductArgsLaunch<B> {
    let x_scales = match call.x {
        Input::Int8(x) => Some(x.scales().arg()),
        Input::Float(_) => None,
    };
    ProductArgsLaunch::new(
        x_scales.into(),
        weights.words().arg(),
        weights.row_scales().arg(),
        call.bias.map(|bias| bias.arg()).into(),
        tile_extents(
            &call.problem,
            weights.fragment_layout(),
            tokens.stride,
            tokens.len,
            y_stride,
        ),
        call.problem.code,
        call.integers(),
    )
}

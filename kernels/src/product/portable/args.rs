//! Launch arguments that the portable products have in common.

use cubecl::prelude::*;
use tritburn_formats::WeightCode;

use crate::device::address;
use crate::device_code::decode::{ScaleMap, scale_map};
use crate::device_code::extents::{Extents, ExtentsLaunch};
use crate::error::KernelError;
use crate::operand::{PackedWeights, QuantizedActivations};
use crate::product::{Call, Input};

/// The operands of a product except activations and output, and its sizes.
#[derive(CubeType, CubeLaunch)]
pub(super) struct PortableArgs<B: Float> {
    /// Canonical words.
    pub words: &'static [u32],
    /// Scales of the weights.
    pub scales: &'static [f32],
    /// A bias per weight row.
    pub bias: ComptimeOption<&'static [B]>,
    /// Maps a weight to its scale.
    pub map: ScaleMap,
    /// Runtime sizes.
    pub extents: Extents,
    /// Code table of the weights.
    #[cube(comptime)]
    pub code: WeightCode,
}

/// How a launch binds the output.
pub(super) struct Binding {
    /// Index width for the largest operand.
    pub address: AddressType,
    /// The output.
    pub y: BufferArg,
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
        let (y, _, y_stride, y_type) = call.output();
        Ok(Self {
            address: address(client, &call.extents())?,
            y,
            y_stride,
            y_type,
            bias_type: call.bias_dtype(),
        })
    }
}

/// The arguments of `call` with `weights`.
pub(super) fn portable_args<B: Float>(
    call: &Call<'_>,
    weights: &PackedWeights,
    y_stride: usize,
) -> PortableArgsLaunch<B> {
    let (problem, layout) = (&call.problem, weights.layout());
    let x_stride = match call.x {
        Input::Int8(_) => QuantizedActivations::words_per_row(problem.k) / 4,
        Input::Float(x) => x.row_stride(),
    };
    PortableArgsLaunch::new(
        weights.words().arg(),
        weights.scales().arg(),
        call.bias.map(|bias| bias.arg()).into(),
        scale_map(layout),
        ExtentsLaunch::new(
            problem.m,
            problem.n,
            problem.k,
            layout.words_per_row(),
            x_stride,
            y_stride,
        ),
        problem.code,
    )
}

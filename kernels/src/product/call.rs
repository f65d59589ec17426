//! The operands of a product.

use cubecl::prelude::*;
use tritburn_formats::PackedLayout;

use super::problem::MatmulProblem;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatVector, PackedWeights, QuantizedActivations};
use crate::prepack::{FragmentOrder, PrepackedWeights};

/// The right operand: weights as they are stored, or in the order of tensor-core kernels.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// The canonical layout: the portable kernels.
    Canonical(&'a PackedWeights),
    /// Fragments: the kernels for NVIDIA's tensor cores.
    Prepacked(&'a PrepackedWeights),
}

impl<'a> From<&'a PackedWeights> for Weights<'a> {
    fn from(weights: &'a PackedWeights) -> Self {
        Self::Canonical(weights)
    }
}

impl<'a> From<&'a PrepackedWeights> for Weights<'a> {
    fn from(weights: &'a PrepackedWeights) -> Self {
        Self::Prepacked(weights)
    }
}

impl Weights<'_> {
    /// Shape, codes and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        match self {
            Self::Canonical(weights) => weights.layout(),
            Self::Prepacked(weights) => weights.layout(),
        }
    }

    pub(super) fn order(&self) -> Option<FragmentOrder> {
        match self {
            Self::Canonical(_) => None,
            Self::Prepacked(weights) => Some(weights.fragment_layout().order),
        }
    }

    fn words(&self) -> &Buffer {
        match self {
            Self::Canonical(weights) => weights.words(),
            Self::Prepacked(weights) => weights.words(),
        }
    }
}

/// The left operand.
pub(crate) enum Input<'a> {
    Int8(&'a QuantizedActivations),
    Float(&'a FloatMatrix),
}

/// The result.
pub(crate) enum Output<'a> {
    Float(&'a FloatMatrix),
    Int32(&'a Buffer),
}

/// A product whose operands fit together.
pub(crate) struct Call<'a> {
    pub x: Input<'a>,
    pub weights: Weights<'a>,
    pub bias: Option<&'a FloatVector>,
    pub y: Output<'a>,
    pub problem: MatmulProblem,
}

impl Call<'_> {
    /// Elements of the largest operand.
    pub fn extents(&self) -> [usize; 3] {
        let x = match &self.x {
            Input::Int8(x) => x.codes().len(),
            Input::Float(x) => x.extent(),
        };
        let (_, y, _, _) = self.output();
        [x, self.weights.words().len(), y]
    }

    /// Binding, elements, row stride and type of the output.
    pub fn output(&self) -> (BufferArg, usize, usize, ElemType) {
        match &self.y {
            Output::Float(y) => (y.lines(1), y.extent(), y.row_stride(), y.dtype().elem()),
            Output::Int32(y) => (y.arg(), y.len(), self.problem.n, i32::elem_type_native()),
        }
    }

    /// Elements of a row of y that one store may take: 2 where every pair of columns starts at a
    /// multiple of its size.
    pub fn pair_width(&self) -> usize {
        let even = self.problem.n.is_multiple_of(2);
        match &self.y {
            Output::Float(y) if even && y.starts_pairs() => 2,
            Output::Int32(y) if even && y.starts_pairs() => 2,
            _ => 1,
        }
    }

    /// [`output`](Self::output) in lines of `width`, without the number of elements.
    pub fn output_lines(&self, width: usize) -> (BufferArg, usize, ElemType) {
        let (_, _, stride, dtype) = self.output();
        match &self.y {
            Output::Float(y) => (y.lines(width), stride, dtype),
            Output::Int32(y) => (y.lines(width), stride, dtype),
        }
    }

    /// Whether the sums are wanted as they are.
    pub fn integers(&self) -> bool {
        matches!(self.y, Output::Int32(_))
    }

    /// Type that a kernel reads the bias in, bound or not.
    pub fn bias_dtype(&self) -> ElemType {
        self.bias
            .map_or(f32::elem_type_native(), |bias| bias.dtype().elem())
    }
}

/// Checks what all products have in common.
pub(super) fn check(
    client: &Client,
    x: [usize; 2],
    weights: Weights<'_>,
    bias: Option<&FloatVector>,
    order: FragmentOrder,
) -> Result<(), KernelError> {
    if let Some(found) = weights.order().filter(|found| *found != order) {
        return Err(KernelError::FragmentOrder {
            expected: order,
            found,
        });
    }
    let layout = weights.layout();
    let expected = [x[0], layout.in_features()];
    if x != expected {
        return Err(KernelError::Shape {
            operand: "x",
            expected,
            found: x,
        });
    }
    bias.map_or(Ok(()), |bias| {
        bias.check(client, "bias", layout.out_features())
    })
}

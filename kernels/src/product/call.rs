//! A product as data: its operands, checked to fit together.

use cubecl::prelude::*;
use tritburn_formats::PackedLayout;

use super::problem::{ActivationType, MatmulProblem};
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatVector, PackedWeights, QuantizedActivations};
use crate::prepack::{FragmentOrder, PrepackedWeights, WeightOrder};

/// The right operand: weights in the canonical layout, or in fragment order.
#[derive(Clone, Copy, Debug)]
pub enum Weights<'a> {
    /// Weights for the portable kernels.
    Canonical(&'a PackedWeights),
    /// Weights for the tensor-core kernels.
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

    /// Order of the codes.
    pub fn order(&self) -> WeightOrder {
        match self {
            Self::Canonical(_) => WeightOrder::Canonical,
            Self::Prepacked(weights) => WeightOrder::Fragments(weights.fragment_layout().order),
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
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    Int8(&'a QuantizedActivations),
    Float(&'a FloatMatrix),
}

impl Input<'_> {
    fn shape(&self) -> [usize; 2] {
        match self {
            Self::Int8(x) => [x.rows(), x.cols()],
            Self::Float(x) => [x.rows(), x.cols()],
        }
    }

    fn starts_lines(&self) -> bool {
        match self {
            Self::Int8(_) => true,
            Self::Float(x) => x.starts_lines(),
        }
    }

    /// Elements from the first to the last.
    fn extent(&self) -> usize {
        match self {
            Self::Int8(x) => x.codes().len(),
            Self::Float(x) => x.extent(),
        }
    }
}

/// The result.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Output<'a> {
    Float(&'a FloatMatrix),
    Int32(&'a Buffer),
}

/// A product whose operands have been checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub x: Input<'a>,
    pub weights: Weights<'a>,
    pub bias: Option<&'a FloatVector>,
    pub y: Output<'a>,
    pub problem: MatmulProblem,
}

impl<'a> Call<'a> {
    /// Checks the operands of a product that reads `x` as `activations`.
    ///
    /// # Errors
    /// [`KernelError`] for operands whose shapes differ, weights in the fragment order of another
    /// precision, or element types that the device lacks.
    pub fn new(
        client: &Client,
        x: Input<'a>,
        weights: Weights<'a>,
        bias: Option<&'a FloatVector>,
        y: Output<'a>,
        activations: ActivationType,
    ) -> Result<Self, KernelError> {
        check_order(activations, weights.order())?;
        let layout = weights.layout();
        let (found, expected) = (x.shape(), [x.shape()[0], layout.in_features()]);
        if found != expected {
            let operand = "x";
            return Err(KernelError::Shape {
                operand,
                expected,
                found,
            });
        }
        if let Some(bias) = bias {
            bias.check(client, "bias", layout.out_features())?;
        }
        if let Input::Float(x) = x {
            x.check(client, "x", expected)?;
        }
        match y {
            Output::Float(y) => y.check(client, "y", [found[0], layout.out_features()])?,
            Output::Int32(y) => y.check_exact("y", found[0] * layout.out_features())?,
        }
        let problem = MatmulProblem {
            whole_lines: x.starts_lines(),
            ..MatmulProblem::new(found[0], layout, activations, weights.order())
        };
        Ok(Self {
            x,
            weights,
            bias,
            y,
            problem,
        })
    }

    /// The same product with `codes`, the quantised activations, as its left operand.
    pub fn after_quantizer<'b>(&self, codes: &'b QuantizedActivations) -> Call<'b>
    where
        'a: 'b,
    {
        Call {
            x: Input::Int8(codes),
            problem: self.problem.after_quantizer(),
            ..*self
        }
    }

    /// Elements of the largest operand.
    pub fn extents(&self) -> [usize; 3] {
        let (_, y, _, _) = self.output();
        [self.x.extent(), self.weights.words().len(), y]
    }

    /// Binding, elements, row stride and type of the output.
    pub fn output(&self) -> (BufferArg, usize, usize, ElemType) {
        match &self.y {
            Output::Float(y) => (y.lines(1), y.extent(), y.row_stride(), y.dtype().elem()),
            Output::Int32(y) => (y.arg(), y.len(), self.problem.n, i32::elem_type_native()),
        }
    }

    /// Elements of a row of y that one store may write: 2 if every pair of columns is aligned, else 1.
    pub fn pair_width(&self) -> usize {
        let even = self.problem.n.is_multiple_of(2);
        match &self.y {
            Output::Float(y) if even && y.starts_pairs() => 2,
            Output::Int32(y) if even && y.starts_pairs() => 2,
            _ => 1,
        }
    }

    /// Binding, row stride and type of the output, in lines of `width`.
    pub fn output_lines(&self, width: usize) -> (BufferArg, usize, ElemType) {
        let (_, _, stride, dtype) = self.output();
        match &self.y {
            Output::Float(y) => (y.lines(width), stride, dtype),
            Output::Int32(y) => (y.lines(width), stride, dtype),
        }
    }

    /// Whether the output is the i32 sums, without scales.
    pub fn integers(&self) -> bool {
        matches!(self.y, Output::Int32(_))
    }

    /// Type of the kernel's bias argument, whether or not there is a bias.
    pub fn bias_dtype(&self) -> ElemType {
        self.bias
            .map_or(f32::elem_type_native(), |bias| bias.dtype().elem())
    }
}

/// Refuses weights in the fragment order of another precision.
fn check_order(activations: ActivationType, order: WeightOrder) -> Result<(), KernelError> {
    let expected = match activations {
        ActivationType::Int8 | ActivationType::Quantized(_) => FragmentOrder::Int8,
        ActivationType::Float(_) => FragmentOrder::Half,
    };
    match order {
        WeightOrder::Fragments(found) if found != expected => {
            Err(KernelError::FragmentOrder { expected, found })
        }
        _ => Ok(()),
    }
}

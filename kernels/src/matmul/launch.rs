//! Checked launches of the products.

use cubecl::prelude::*;
use tritburn_formats::ScaleGranularity;

use super::base::{MatmulProblem, Plan, Strategy};
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatVector, PackedWeights, QuantizedActivations};
use crate::{gemm, gemv};

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
    pub weights: &'a PackedWeights,
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

    /// Whether the sums are wanted as they are.
    pub fn integers(&self) -> bool {
        matches!(self.y, Output::Int32(_))
    }

    /// Type that a kernel reads the bias in, bound or not.
    pub fn bias_dtype(&self) -> ElemType {
        self.bias
            .map_or(f32::elem_type_native(), |bias| bias.dtype().elem())
    }

    fn run(self, client: &Client, strategy: Strategy) -> Result<(), KernelError> {
        let device = DeviceFacts::of(client);
        match strategy.plan(&self.problem, &device) {
            Plan::Gemm(plan) => gemm::portable::launch(client, &self, &device, plan),
            Plan::Gemv(plan) => gemv::portable::launch(client, &self, &device, plan),
        }
    }
}

/// `y = x̂ · Ŵᵀ + bias` with int8 activations, in exact i32 sums.
///
/// # Errors
/// [`KernelError`] for operands that do not fit together, see the [module](super).
pub fn w2a8(
    client: &Client,
    x: &QuantizedActivations,
    weights: &PackedWeights,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    check(client, [x.rows(), x.cols()], weights, bias)?;
    y.check(client, "y", [x.rows(), weights.layout().out_features()])?;
    let call = Call {
        problem: MatmulProblem::new(x.rows(), weights.layout(), true),
        x: Input::Int8(x),
        weights,
        bias,
        y: Output::Float(y),
    };
    call.run(client, strategy)
}

/// The i32 sums `Σ_k q[m, k] · value[n, k]`, row-major `[M, N]` into `y` (i32, M·N). Weight and
/// token scales are not applied.
///
/// # Errors
/// As [`w2a8`], and [`KernelError::GroupedIntegers`] for scales per group.
pub fn w2a8_i32(
    client: &Client,
    x: &QuantizedActivations,
    weights: &PackedWeights,
    y: &Buffer,
    strategy: Strategy,
) -> Result<(), KernelError> {
    check(client, [x.rows(), x.cols()], weights, None)?;
    if let ScaleGranularity::Group { size } = weights.layout().scale() {
        return Err(KernelError::GroupedIntegers { size: *size });
    }
    y.check_exact("y", x.rows() * weights.layout().out_features())?;
    let call = Call {
        problem: MatmulProblem::new(x.rows(), weights.layout(), true),
        x: Input::Int8(x),
        weights,
        bias: None,
        y: Output::Int32(y),
    };
    call.run(client, strategy)
}

/// `y = x · Ŵᵀ + bias` with float activations, in f32 sums.
///
/// # Errors
/// As [`w2a8`].
pub fn w2a16(
    client: &Client,
    x: &FloatMatrix,
    weights: &PackedWeights,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    check(client, [x.rows(), x.cols()], weights, bias)?;
    let layout = weights.layout();
    x.check(client, "x", [x.rows(), layout.in_features()])?;
    y.check(client, "y", [x.rows(), layout.out_features()])?;
    let call = Call {
        problem: MatmulProblem::new(x.rows(), layout, false),
        x: Input::Float(x),
        weights,
        bias,
        y: Output::Float(y),
    };
    call.run(client, strategy)
}

fn check(
    client: &Client,
    x: [usize; 2],
    weights: &PackedWeights,
    bias: Option<&FloatVector>,
) -> Result<(), KernelError> {
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

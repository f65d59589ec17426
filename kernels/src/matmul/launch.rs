//! Checked launches of the products.

use cubecl::prelude::*;
use tritburn_formats::{PackedLayout, ScaleGranularity};

use super::base::{ActivationType, MatmulProblem, Plan, Strategy};
use super::tune;
use crate::device::DeviceFacts;
use crate::error::KernelError;
use crate::operand::{Buffer, FloatMatrix, FloatVector, PackedWeights, QuantizedActivations};
use crate::prepack::{FragmentOrder, PrepackedWeights};
use crate::{gemm, gemv};

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

    fn run(self, client: &Client, strategy: Strategy) -> Result<(), KernelError> {
        let device = DeviceFacts::of(client);
        if strategy == Strategy::Auto && tune::run(client, &self, &device) {
            return Ok(());
        }
        let plan = strategy.plan(&self.problem, &device);
        self.launch(client, &device, plan)
    }

    pub fn launch(
        &self,
        client: &Client,
        device: &DeviceFacts,
        plan: Plan,
    ) -> Result<(), KernelError> {
        match (plan, self.weights) {
            (Plan::Gemm(plan), Weights::Canonical(weights)) => {
                gemm::portable::launch(client, self, weights, device, plan)
            }
            (Plan::Gemv(plan), Weights::Canonical(weights)) => {
                gemv::portable::launch(client, self, weights, device, plan)
            }
            (Plan::Skinny(plan), Weights::Prepacked(weights)) => {
                gemv::cuda::launch(client, self, weights, device, plan)
            }
            (Plan::Wgmma(plan), Weights::Prepacked(weights)) => {
                gemm::cuda::wgmma::launch(client, self, weights, device, plan)
            }
            (Plan::Fused(plan), Weights::Prepacked(weights)) => {
                gemm::cuda::wgmma::fused::launch(client, self, weights, device, plan)
            }
            (Plan::Mma(plan), Weights::Prepacked(weights)) => {
                gemm::cuda::mma::launch(client, self, weights, device, plan)
            }
            (Plan::Wmma(plan), Weights::Prepacked(weights)) => {
                gemm::cuda::wmma::launch(client, self, weights, device, plan)
            }
            (plan, weights) => {
                let order = weights.order();
                let reason = format!("{plan:?} does not read weights in fragment order {order:?}");
                Err(KernelError::Plan { reason })
            }
        }
    }
}

/// `y = x̂ · Ŵᵀ + bias` with int8 activations, in exact i32 sums.
///
/// # Errors
/// [`KernelError`] for operands that do not fit together, see the [module](super).
pub fn w2a8<'a>(
    client: &Client,
    x: &QuantizedActivations,
    weights: impl Into<Weights<'a>>,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let weights = weights.into();
    check(
        client,
        [x.rows(), x.cols()],
        weights,
        bias,
        FragmentOrder::Int8,
    )?;
    y.check(client, "y", [x.rows(), weights.layout().out_features()])?;
    let call = Call {
        problem: MatmulProblem::new(
            x.rows(),
            weights.layout(),
            ActivationType::Int8,
            weights.order(),
        ),
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
pub fn w2a8_i32<'a>(
    client: &Client,
    x: &QuantizedActivations,
    weights: impl Into<Weights<'a>>,
    y: &Buffer,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let weights = weights.into();
    check(
        client,
        [x.rows(), x.cols()],
        weights,
        None,
        FragmentOrder::Int8,
    )?;
    if let ScaleGranularity::Group { size } = weights.layout().scale() {
        return Err(KernelError::GroupedIntegers { size: *size });
    }
    y.check_exact("y", x.rows() * weights.layout().out_features())?;
    let call = Call {
        problem: MatmulProblem::new(
            x.rows(),
            weights.layout(),
            ActivationType::Int8,
            weights.order(),
        ),
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
pub fn w2a16<'a>(
    client: &Client,
    x: &FloatMatrix,
    weights: impl Into<Weights<'a>>,
    bias: Option<&FloatVector>,
    y: &FloatMatrix,
    strategy: Strategy,
) -> Result<(), KernelError> {
    let weights = weights.into();
    check(
        client,
        [x.rows(), x.cols()],
        weights,
        bias,
        FragmentOrder::Half,
    )?;
    let layout = weights.layout();
    x.check(client, "x", [x.rows(), layout.in_features()])?;
    y.check(client, "y", [x.rows(), layout.out_features()])?;
    let call = Call {
        problem: MatmulProblem {
            whole_lines: x.starts_lines(),
            ..MatmulProblem::new(x.rows(), layout, x.dtype().into(), weights.order())
        },
        x: Input::Float(x),
        weights,
        bias,
        y: Output::Float(y),
    };
    call.run(client, strategy)
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

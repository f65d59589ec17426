//! Why a launch is refused. Every check runs on the host, before anything is sent to a device.

use cubecl::ir::ElemType;
use thiserror::Error;
use tritburn_formats::PackedLayout;

use crate::operand::FloatType;
use crate::prepack::FragmentOrder;

/// A kernel launch that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A buffer holds fewer or more elements than the operand needs.
    #[error("{operand} needs {expected} elements, the buffer was given with {found}")]
    Length {
        /// Name of the operand.
        operand: &'static str,
        /// Elements the shape asks for.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// A device buffer is smaller than its stated length.
    #[error("{operand} needs {expected} bytes, its device buffer holds {found}")]
    Bytes {
        /// Name of the operand.
        operand: &'static str,
        /// Bytes needed.
        expected: u64,
        /// Bytes of the buffer, offsets taken off.
        found: u64,
    },
    /// Two operands do not fit together.
    #[error("{operand} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// Name of the operand.
        operand: &'static str,
        /// Shape needed.
        expected: [usize; 2],
        /// Shape given.
        found: [usize; 2],
    },
    /// A matrix without rows or columns where none can be empty.
    #[error("{operand} must have columns, got shape {shape:?}")]
    Empty {
        /// Name of the operand.
        operand: &'static str,
        /// Shape given.
        shape: [usize; 2],
    },
    /// Elements of a row do not lie side by side.
    #[error("{operand} has inner stride {stride}, kernels read rows with stride 1")]
    InnerStride {
        /// Name of the operand.
        operand: &'static str,
        /// Stride of the last dimension.
        stride: usize,
    },
    /// Rows overlap.
    #[error("{operand} has row stride {stride}, less than its {cols} columns")]
    RowStride {
        /// Name of the operand.
        operand: &'static str,
        /// Stride of the first dimension.
        stride: usize,
        /// Columns.
        cols: usize,
    },
    /// A buffer starts where no wide load may.
    #[error("{operand} starts at byte {offset}, which is not a multiple of {alignment}")]
    Alignment {
        /// Name of the operand.
        operand: &'static str,
        /// Byte offset in its allocation.
        offset: u64,
        /// Alignment needed.
        alignment: u64,
    },
    /// An element type that is no float this crate computes with.
    #[error("element type {found:?} is not f32, f16 or bf16")]
    ElementType {
        /// Type given.
        found: ElemType,
    },
    /// A float type that the device cannot load and store.
    #[error("{operand} is {dtype}, which device `{device}` does not support")]
    UnsupportedOnDevice {
        /// Name of the operand.
        operand: &'static str,
        /// Float type.
        dtype: FloatType,
        /// Name of the device.
        device: String,
    },
    /// Two float operands that should have one type.
    #[error("{operand} is {found}, expected {expected}")]
    FloatType {
        /// Name of the operand.
        operand: &'static str,
        /// Type needed.
        expected: FloatType,
        /// Type given.
        found: FloatType,
    },
    /// A size that no kernel is written for.
    #[error("{what} is {found}, kernels take {allowed}")]
    Unsupported {
        /// What it is the size of.
        what: &'static str,
        /// Size given.
        found: usize,
        /// Sizes that would do.
        allowed: &'static str,
    },
    /// More inputs than an i32 accumulator holds exactly.
    #[error("{operand} has {in_features} columns, over the limit of {max}")]
    InFeatures {
        /// Name of the operand.
        operand: &'static str,
        /// Columns given.
        in_features: usize,
        /// Largest allowed.
        max: usize,
    },
    /// Integer output was asked of weights whose groups have scales of their own.
    #[error("group scales of {size} inputs leave no single i32 product per output")]
    GroupedIntegers {
        /// Inputs per group.
        size: usize,
    },
    /// More work items than one launch can number.
    #[error("{items} work items do not fit one launch of at most {max}")]
    GridTooLarge {
        /// Work items.
        items: usize,
        /// Largest number.
        max: usize,
    },
    /// A buffer that needs 64-bit indices on a device without them.
    #[error("{elements} elements need 64-bit indices, which device `{device}` lacks")]
    AddressWidth {
        /// Elements of the largest operand.
        elements: usize,
        /// Name of the device.
        device: String,
    },
    /// Weights that no tensor-core kernel can read.
    #[error(
        "weights of layout {layout:?} cannot be prepacked: their scales are per group, or sums could overflow"
    )]
    NotPrepackable {
        /// Layout of the weights.
        layout: Box<PackedLayout>,
    },
    /// Two weight operands that should be the same matrix.
    #[error("weights have layout {found:?}, expected {expected:?}")]
    Layouts {
        /// Layout needed.
        expected: Box<PackedLayout>,
        /// Layout given.
        found: Box<PackedLayout>,
    },
    /// Weights that were prepacked for another kind of activations.
    #[error("weights were prepacked for {found:?} products, this one is {expected:?}")]
    FragmentOrder {
        /// Order needed.
        expected: FragmentOrder,
        /// Order given.
        found: FragmentOrder,
    },
    /// A forced plan that the device or the problem cannot run.
    #[error("plan refused: {reason}")]
    Plan {
        /// What does not fit.
        reason: String,
    },
}

//! Device operands with their shapes checked once: every launch takes these.
//!
//! Packed words, scales and int8 activations are rank 1 and contiguous, because rank-2 tensors are
//! pitched on some devices. Float matrices may be pitched.

use core::fmt;

use cubecl::ir::features::{Features, TypeUsage};
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;
use cubecl::server::Handle;
use tritburn_formats::PackedLayout;
use tritburn_formats::layout::{MAX_IN_FEATURES, WEIGHTS_PER_WORD, activation_words_per_row};

use crate::error::KernelError;
use crate::tensor_map::tensor_map;

/// Bytes that a 16-byte load needs its buffer to start at a multiple of.
pub(crate) const LINE_BYTES: u64 = 16;

/// Float element types of inputs and outputs. Arithmetic is f32 throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// 32-bit IEEE.
    F32,
    /// 16-bit IEEE.
    F16,
    /// bfloat16.
    BF16,
}

impl FloatType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The CubeCL element type.
    pub const fn elem(self) -> ElemType {
        ElemType::Float(match self {
            Self::F32 => FloatKind::F32,
            Self::F16 => FloatKind::F16,
            Self::BF16 => FloatKind::BF16,
        })
    }

    pub(crate) fn check(self, client: &Client, operand: &'static str) -> Result<(), KernelError> {
        let device = &client.properties().identity.name;
        self.check_features(client.features(), device, operand)
    }

    /// Checks that `found` is this type.
    pub(crate) fn expect(self, operand: &'static str, found: FloatType) -> Result<(), KernelError> {
        match found == self {
            true => Ok(()),
            false => Err(KernelError::FloatType {
                operand,
                expected: self,
                found,
            }),
        }
    }

    fn check_features(
        self,
        features: &Features,
        device: &str,
        operand: &'static str,
    ) -> Result<(), KernelError> {
        // Kernels compute in f32: they load and store the type, and convert.
        let needed = TypeUsage::Buffer | TypeUsage::Conversion;
        match features.type_usage(self.elem()).is_superset(needed) {
            true => Ok(()),
            false => Err(KernelError::UnsupportedOnDevice {
                operand,
                dtype: self,
                device: device.to_string(),
            }),
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

impl TryFrom<ElemType> for FloatType {
    type Error = KernelError;

    fn try_from(elem: ElemType) -> Result<Self, KernelError> {
        match elem {
            ElemType::Float(FloatKind::F32) => Ok(Self::F32),
            ElemType::Float(FloatKind::F16) => Ok(Self::F16),
            ElemType::Float(FloatKind::BF16) => Ok(Self::BF16),
            found => Err(KernelError::ElementType { found }),
        }
    }
}

/// A rank-1 contiguous device buffer of u32, i32 or f32 elements.
#[derive(Clone, Debug)]
pub struct Buffer {
    handle: Handle,
    len: usize,
}

impl Buffer {
    /// `len` 4-byte elements at the start of `handle` (its own offset included).
    pub fn new(handle: Handle, len: usize) -> Self {
        Self { handle, len }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn check(&self, operand: &'static str, expected: usize) -> Result<(), KernelError> {
        if self.len != expected {
            return Err(KernelError::Length {
                operand,
                expected,
                found: self.len,
            });
        }
        check_bytes(&self.handle, operand, expected as u64 * 4)
    }

    pub(crate) fn check_exact(
        &self,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        self.check(operand, expected)?;
        check_alignment(&self.handle, operand, 4)
    }

    /// As [`check_exact`](Self::check_exact), for a buffer that is read 16 bytes at a time.
    pub(crate) fn check_lines(
        &self,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        self.check(operand, expected)?;
        check_alignment(&self.handle, operand, LINE_BYTES)
    }

    /// Whether the buffer starts at a multiple of two elements.
    pub(crate) fn starts_pairs(&self) -> bool {
        self.handle.offset_start.unwrap_or(0).is_multiple_of(8)
    }

    pub(crate) fn arg(&self) -> BufferArg {
        // SAFETY: the constructors of the operands check the length against the buffer's bytes.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }

    /// The buffer as lines of `width` elements.
    pub(crate) fn lines(&self, width: usize) -> BufferArg {
        // SAFETY: as in `arg`; rounding down never reaches past the end.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len / width) }
    }
}

pub(crate) fn check_bytes(
    handle: &Handle,
    operand: &'static str,
    expected: u64,
) -> Result<(), KernelError> {
    let found = handle.size_in_used();
    match found >= expected {
        true => Ok(()),
        false => Err(KernelError::Bytes {
            operand,
            expected,
            found,
        }),
    }
}

pub(crate) fn check_alignment(
    handle: &Handle,
    operand: &'static str,
    alignment: u64,
) -> Result<(), KernelError> {
    let offset = handle.offset_start.unwrap_or(0);
    match offset.is_multiple_of(alignment) {
        true => Ok(()),
        false => Err(KernelError::Alignment {
            operand,
            offset,
            alignment,
        }),
    }
}

/// Packed weights `[N, K]`: 2-bit codes in the canonical layout and their f32 scales.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    layout: PackedLayout,
    words: Buffer,
    scales: Buffer,
}

impl PackedWeights {
    /// Weights of `layout` in `words` (u32, `layout.word_count()`) and `scales` (f32,
    /// `layout.scale_count()`).
    ///
    /// # Errors
    /// [`KernelError`] if a buffer has another length or is too small.
    pub fn new(layout: PackedLayout, words: Buffer, scales: Buffer) -> Result<Self, KernelError> {
        words.check_exact("packed words", layout.word_count())?;
        scales.check_exact("weight scales", layout.scale_count())?;
        Ok(Self {
            layout,
            words,
            scales,
        })
    }

    /// Shape, codes and scale granularity.
    pub fn layout(&self) -> &PackedLayout {
        &self.layout
    }

    /// The packed words.
    pub fn words(&self) -> &Buffer {
        &self.words
    }

    /// The scales.
    pub fn scales(&self) -> &Buffer {
        &self.scales
    }
}

/// Per-token int8 activations `[M, K]`: `4·ceil(K/16)` words a row, four little-endian int8 a
/// word, zeros past `K`; one f32 scale a row, `x ≈ q · scale`.
#[derive(Clone, Debug)]
pub struct QuantizedActivations {
    rows: usize,
    cols: usize,
    codes: Buffer,
    scales: Buffer,
}

impl QuantizedActivations {
    /// `rows × cols` activations in `codes` (u32, `rows · words_per_row(cols)`) and `scales` (f32,
    /// `rows`). `rows` may be 0.
    ///
    /// # Errors
    /// [`KernelError`] if `cols` is 0 or over [`MAX_IN_FEATURES`], a buffer has another length or
    /// is too small, or the codes do not start at a multiple of 16 bytes.
    pub fn new(
        rows: usize,
        cols: usize,
        codes: Buffer,
        scales: Buffer,
    ) -> Result<Self, KernelError> {
        if cols == 0 {
            return Err(KernelError::Empty {
                operand: "activations",
                shape: [rows, cols],
            });
        }
        if cols > MAX_IN_FEATURES {
            return Err(KernelError::InFeatures {
                operand: "activations",
                in_features: cols,
                max: MAX_IN_FEATURES,
            });
        }
        codes.check_lines("activation codes", rows * Self::words_per_row(cols))?;
        scales.check_exact("activation scales", rows)?;
        Ok(Self {
            rows,
            cols,
            codes,
            scales,
        })
    }

    /// u32 words of one row of `cols` activations: `4·ceil(cols/16)`.
    pub const fn words_per_row(cols: usize) -> usize {
        activation_words_per_row(cols)
    }

    /// Tokens.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of a token.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The int8 codes, four a word.
    pub fn codes(&self) -> &Buffer {
        &self.codes
    }

    /// The per-token scales.
    pub fn scales(&self) -> &Buffer {
        &self.scales
    }

    /// The codes, in words of four, for copies of tiles.
    pub(crate) fn tensor_map(&self, tile: [usize; 2]) -> TensorMapArg<Tiled> {
        let words = Self::words_per_row(self.cols);
        let dtype = u32::elem_type_native();
        tensor_map(
            &self.codes.handle,
            [self.rows, words],
            words,
            4,
            dtype,
            tile,
        )
    }
}

/// A float matrix `[rows, cols]` whose rows may be pitched.
#[derive(Clone, Debug)]
pub struct FloatMatrix {
    handle: Handle,
    rows: usize,
    cols: usize,
    row_stride: usize,
    dtype: FloatType,
}

impl FloatMatrix {
    /// A matrix of `shape` with element `strides` at the start of `handle` (its own offset
    /// included). The stride of a dimension of size 1 does not matter.
    ///
    /// # Errors
    /// [`KernelError`] if the inner stride is not 1, rows overlap, there are no columns, or the
    /// buffer is too small.
    pub fn new(
        handle: Handle,
        shape: [usize; 2],
        strides: [usize; 2],
        dtype: FloatType,
    ) -> Result<Self, KernelError> {
        let operand = "float matrix";
        let [rows, cols] = shape;
        if cols == 0 {
            return Err(KernelError::Empty { operand, shape });
        }
        if cols > 1 && strides[1] != 1 {
            return Err(KernelError::InnerStride {
                operand,
                stride: strides[1],
            });
        }
        let row_stride = if rows > 1 { strides[0] } else { cols };
        if row_stride < cols {
            return Err(KernelError::RowStride {
                operand,
                stride: row_stride,
                cols,
            });
        }
        let matrix = Self {
            handle,
            rows,
            cols,
            row_stride,
            dtype,
        };
        let bytes = matrix.extent() as u64 * dtype.size() as u64;
        check_bytes(&matrix.handle, operand, bytes)?;
        check_alignment(&matrix.handle, operand, dtype.size() as u64)?;
        Ok(matrix)
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from the start of one row to the start of the next.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Element type.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    /// Elements from the first to the last, padding between rows included.
    pub(crate) fn extent(&self) -> usize {
        match self.rows {
            0 => 0,
            rows => (rows - 1) * self.row_stride + self.cols,
        }
    }

    /// Checks shape and that `client`'s device computes with the element type.
    pub(crate) fn check(
        &self,
        client: &Client,
        operand: &'static str,
        expected: [usize; 2],
    ) -> Result<(), KernelError> {
        let found = [self.rows, self.cols];
        if found != expected {
            return Err(KernelError::Shape {
                operand,
                expected,
                found,
            });
        }
        self.dtype.check(client, operand)
    }

    /// Elements a load may take at once along a row: 16 bytes' worth where every row starts at a
    /// multiple of that and no row ends inside one word of 16 weights, else 1.
    pub(crate) fn line_width(&self) -> usize {
        let width = LINE_BYTES as usize / self.dtype.size();
        let aligned = self
            .handle
            .offset_start
            .unwrap_or(0)
            .is_multiple_of(LINE_BYTES);
        let whole = self.cols.is_multiple_of(WEIGHTS_PER_WORD)
            && (self.rows <= 1 || self.row_stride.is_multiple_of(width));
        if aligned && whole { width } else { 1 }
    }

    /// Whether every row starts at a multiple of 16 bytes.
    pub(crate) fn starts_lines(&self) -> bool {
        self.starts_at(LINE_BYTES as usize)
    }

    /// Whether every row starts at a multiple of two elements.
    pub(crate) fn starts_pairs(&self) -> bool {
        self.starts_at(2 * self.dtype.size())
    }

    fn starts_at(&self, bytes: usize) -> bool {
        let offset = self.handle.offset_start.unwrap_or(0);
        let stride = self.row_stride * self.dtype.size();
        offset.is_multiple_of(bytes as u64) && (self.rows <= 1 || stride.is_multiple_of(bytes))
    }

    pub(crate) fn lines(&self, width: usize) -> BufferArg {
        // SAFETY: `new` checked that the buffer holds `extent` elements.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.extent() / width) }
    }

    /// The matrix for copies of tiles, whose rows must start at multiples of 16 bytes.
    pub(crate) fn tensor_map(&self, tile: [usize; 2]) -> TensorMapArg<Tiled> {
        let shape = [self.rows, self.cols];
        let (element, dtype) = (self.dtype.size(), self.dtype.elem());
        tensor_map(&self.handle, shape, self.row_stride, element, dtype, tile)
    }
}

/// A contiguous float vector: a bias.
#[derive(Clone, Debug)]
pub struct FloatVector {
    handle: Handle,
    len: usize,
    dtype: FloatType,
}

impl FloatVector {
    /// `len` elements at the start of `handle` (its own offset included).
    ///
    /// # Errors
    /// [`KernelError::Bytes`] or [`KernelError::Alignment`].
    pub fn new(handle: Handle, len: usize, dtype: FloatType) -> Result<Self, KernelError> {
        check_bytes(&handle, "float vector", (len * dtype.size()) as u64)?;
        check_alignment(&handle, "float vector", dtype.size() as u64)?;
        Ok(Self { handle, len, dtype })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Element type.
    pub fn dtype(&self) -> FloatType {
        self.dtype
    }

    pub(crate) fn check(
        &self,
        client: &Client,
        operand: &'static str,
        expected: usize,
    ) -> Result<(), KernelError> {
        if self.len != expected {
            return Err(KernelError::Length {
                operand,
                expected,
                found: self.len,
            });
        }
        self.dtype.check(client, operand)
    }

    pub(crate) fn arg(&self) -> BufferArg {
        self.lines(1)
    }

    /// The vector as lines of `width` elements.
    pub(crate) fn lines(&self, width: usize) -> BufferArg {
        // SAFETY: `new` checked that the buffer holds `len` elements.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len / width) }
    }

    /// Elements a load may take at once, up to `most`: 16 bytes' worth where the vector starts at
    /// a multiple of that and is made of whole lines of `most`, else 1.
    pub(crate) fn line_width(&self, most: usize) -> usize {
        let offset = self.handle.offset_start.unwrap_or(0);
        let whole = offset.is_multiple_of(LINE_BYTES) && self.len.is_multiple_of(most);
        let width = most.min(LINE_BYTES as usize / self.dtype.size());
        if whole { width } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_the_device_lacks_is_refused_by_name() {
        let mut features = Features::default();
        let f32 = FloatType::F32;
        features.types.elem.insert(f32.elem(), TypeUsage::all());
        assert_eq!(f32.check_features(&features, "plain", "y"), Ok(()));
        let bf16 = FloatType::BF16;
        // Converting in registers is not enough.
        let usage = TypeUsage::Conversion.into();
        features.types.elem.insert(bf16.elem(), usage);
        let error = bf16.check_features(&features, "plain", "y");
        assert_eq!(
            error.unwrap_err().to_string(),
            "y is bf16, which device `plain` does not support"
        );
        let usage = TypeUsage::Conversion | TypeUsage::Buffer;
        features.types.elem.insert(bf16.elem(), usage);
        assert_eq!(bf16.check_features(&features, "plain", "y"), Ok(()));
    }

    #[test]
    fn only_the_three_float_types_are_float_types() {
        for dtype in [FloatType::F32, FloatType::F16, FloatType::BF16] {
            assert_eq!(FloatType::try_from(dtype.elem()), Ok(dtype));
            assert_eq!(dtype.elem().size(), dtype.size());
        }
        for found in [f64::elem_type_native(), u32::elem_type_native()] {
            let error = KernelError::ElementType { found };
            assert_eq!(FloatType::try_from(found), Err(error));
        }
    }
}

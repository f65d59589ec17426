//! Random operands on host and device, and comparisons.

use cubecl::client::Client;
use cubecl::prelude::*;
use cubecl::server::Handle;
use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tritburn_formats::matrix::PackedMatrix;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode, quantize};
use tritburn_kernels::{
    Buffer, FloatMatrix, FloatType, FloatVector, PackedWeights, QuantizedActivations,
};

pub const CODES: [WeightCode; 2] = [WeightCode::Ternary, WeightCode::Int2];
pub const FLOATS: [FloatType; 3] = [FloatType::F32, FloatType::F16, FloatType::BF16];
/// Awkward weight shapes: K around multiples of 16, N around tiles.
pub const WEIGHT_SHAPES: [(usize, usize); 8] = [
    (1, 1),
    (3, 15),
    (16, 16),
    (33, 17),
    (130, 63),
    (5, 100),
    (17, 257),
    (33, 640),
];
pub const TOKENS: [usize; 5] = [0, 1, 2, 7, 17];

/// What fills the space between rows: a kernel that reads it gives NaN, one that writes is caught.
pub const PADDING: f32 = f32::NAN;

pub fn rng(seed: usize) -> StdRng {
    StdRng::seed_from_u64(seed as u64)
}

/// Every granularity for a matrix of `n` rows.
pub fn granularities(n: usize) -> Vec<ScaleGranularity> {
    let mut all = vec![
        ScaleGranularity::Tensor,
        ScaleGranularity::Row,
        ScaleGranularity::Group { size: 16 },
        ScaleGranularity::Group { size: 64 },
    ];
    if n > 2 {
        let rows = vec![1, n / 2, n - 1 - n / 2];
        all.push(ScaleGranularity::Segments { rows });
    }
    all
}

/// Every granularity with the four-level code, whose unit is not 1, and one with the ternary code:
/// a kernel is compiled for each pair, and code and granularity meet in one factor only.
pub fn layouts(n: usize, k: usize) -> Vec<PackedLayout> {
    let int2 = granularities(n)
        .into_iter()
        .map(|scale| layout(n, k, WeightCode::Int2, scale));
    let ternary = layout(n, k, WeightCode::Ternary, ScaleGranularity::Row);
    int2.chain([ternary]).collect()
}

pub fn layout(n: usize, k: usize, code: WeightCode, scale: ScaleGranularity) -> PackedLayout {
    PackedLayout::new(n, k, code, scale).expect("a valid layout")
}

/// Roughly normal numbers (a sum of three uniform ones), rounded to `dtype`.
pub fn floats(rng: &mut StdRng, len: usize, dtype: FloatType) -> Vec<f32> {
    let mut uniform = || rng.random_range(-1.0f32..1.0);
    (0..len)
        .map(|_| round_to(uniform() + uniform() + uniform(), dtype))
        .collect()
}

pub fn round_to(x: f32, dtype: FloatType) -> f32 {
    match dtype {
        FloatType::F32 => x,
        FloatType::F16 => f16::from_f32(x).to_f32(),
        FloatType::BF16 => bf16::from_f32(x).to_f32(),
    }
}

/// Random weights, packed by tritburn-formats.
pub fn matrix(rng: &mut StdRng, layout: &PackedLayout) -> PackedMatrix {
    let w = floats(rng, layout.weight_count(), FloatType::F32);
    quantize::quantize_weights(&w, layout).unwrap()
}

/// `rows × cols` floats on the device, rows `stride` apart.
pub fn float_matrix(
    client: &Client,
    data: &[f32],
    [rows, cols]: [usize; 2],
    stride: usize,
    dtype: FloatType,
) -> FloatMatrix {
    assert_eq!(data.len(), rows * cols);
    let handle = upload(client, &padded(data, cols, stride), dtype);
    FloatMatrix::new(handle, [rows, cols], [stride, 1], dtype).expect("a valid matrix")
}

/// Rows of `cols` elements, `stride` apart, with [`PADDING`] between.
pub fn padded(data: &[f32], cols: usize, stride: usize) -> Vec<f32> {
    let mut padded = vec![PADDING; data.len() / cols * stride];
    for (from, to) in data.chunks(cols).zip(padded.chunks_mut(stride)) {
        to[..cols].copy_from_slice(from);
    }
    padded
}

pub fn float_vector(client: &Client, data: &[f32], dtype: FloatType) -> FloatVector {
    FloatVector::new(upload(client, data, dtype), data.len(), dtype).expect("a valid vector")
}

pub fn upload(client: &Client, data: &[f32], dtype: FloatType) -> Handle {
    match dtype {
        FloatType::F32 => client.create_from_slice(f32::as_bytes(data)),
        FloatType::F16 => {
            let data: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
            client.create_from_slice(f16::as_bytes(&data))
        }
        FloatType::BF16 => {
            let data: Vec<bf16> = data.iter().map(|&x| bf16::from_f32(x)).collect();
            client.create_from_slice(bf16::as_bytes(&data))
        }
    }
}

/// The floats of a buffer.
pub fn download(client: &Client, handle: &Handle, dtype: FloatType) -> Vec<f32> {
    let bytes = client.read_one(handle.clone()).expect("a result");
    match dtype {
        FloatType::F32 => f32::from_bytes(&bytes).to_vec(),
        FloatType::F16 => f16::from_bytes(&bytes).iter().map(|x| x.to_f32()).collect(),
        FloatType::BF16 => bf16::from_bytes(&bytes)
            .iter()
            .map(|x| x.to_f32())
            .collect(),
    }
}

/// An output matrix with guarded space between its rows.
pub struct Out {
    pub matrix: FloatMatrix,
    handle: Handle,
    stride: usize,
}

impl Out {
    pub fn new(client: &Client, shape: [usize; 2], stride: usize, dtype: FloatType) -> Self {
        Self::filled(
            client,
            &vec![PADDING; shape[0] * shape[1]],
            shape,
            stride,
            dtype,
        )
    }

    /// An output that is read as well.
    pub fn filled(
        client: &Client,
        data: &[f32],
        shape: [usize; 2],
        stride: usize,
        dtype: FloatType,
    ) -> Self {
        let handle = upload(client, &padded(data, shape[1], stride), dtype);
        let matrix = FloatMatrix::new(handle.clone(), shape, [stride, 1], dtype);
        Self {
            matrix: matrix.expect("a valid matrix"),
            handle,
            stride,
        }
    }

    /// The rows, once it is sure that nothing was written between them.
    pub fn read(&self, client: &Client) -> Vec<f32> {
        let all = download(client, &self.handle, self.matrix.dtype());
        let cols = self.matrix.cols();
        let rows = all.chunks(self.stride);
        rows.flat_map(|row| {
            assert!(row[cols..].iter().all(|x| x.is_nan()), "wrote past a row");
            row[..cols].to_vec()
        })
        .collect()
    }
}

pub fn words(client: &Client, data: &[u32]) -> Buffer {
    Buffer::new(client.create_from_slice(u32::as_bytes(data)), data.len())
}

pub fn scales(client: &Client, data: &[f32]) -> Buffer {
    Buffer::new(client.create_from_slice(f32::as_bytes(data)), data.len())
}

/// A buffer of 4-byte elements to be written, with its handle.
pub fn empty(client: &Client, len: usize) -> (Buffer, Handle) {
    let handle = client.create_from_slice(&vec![0xA5; 4 * len]);
    (Buffer::new(handle.clone(), len), handle)
}

pub fn read_u32(client: &Client, handle: &Handle) -> Vec<u32> {
    u32::from_bytes(&client.read_one(handle.clone()).expect("a result")).to_vec()
}

pub fn read_i32(client: &Client, handle: &Handle) -> Vec<i32> {
    i32::from_bytes(&client.read_one(handle.clone()).expect("a result")).to_vec()
}

pub fn read_f32(client: &Client, handle: &Handle) -> Vec<f32> {
    f32::from_bytes(&client.read_one(handle.clone()).expect("a result")).to_vec()
}

pub fn weights(client: &Client, matrix: &PackedMatrix) -> PackedWeights {
    PackedWeights::new(
        matrix.layout().clone(),
        words(client, matrix.words()),
        scales(client, matrix.scales()),
    )
    .expect("valid weights")
}

pub fn activations(client: &Client, x: &quantize::QuantizedActivations) -> QuantizedActivations {
    QuantizedActivations::new(
        x.rows(),
        x.in_features(),
        words(client, x.words()),
        scales(client, x.scales()),
    )
    .expect("valid activations")
}

/// Random activations, quantised by tritburn-formats.
pub fn tokens(rng: &mut StdRng, m: usize, k: usize) -> quantize::QuantizedActivations {
    let x = floats(rng, m * k, FloatType::F32);
    quantize::QuantizedActivations::quantize(&x, k).expect("whole rows")
}

/// Equal bit for bit; one NaN is as good as another.
pub fn assert_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        let same = f.to_bits() == e.to_bits() || (f.is_nan() && e.is_nan());
        assert!(same, "{what}: [{i}] is {f:e}, expected {e:e}");
    }
}

/// `|found - expected| <= bound` for each element.
pub fn assert_within(found: &[f32], expected: &[f64], bounds: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, ((f, e), b)) in found.iter().zip(expected).zip(bounds).enumerate() {
        let off = (*f as f64 - e).abs();
        assert!(
            off <= *b,
            "{what}: [{i}] is {f:e}, expected {e:e}, off by {off:e} > {b:e}"
        );
    }
}

/// Relative step of rounding to `dtype`, twice the worst case.
pub fn epsilon(dtype: FloatType) -> f64 {
    match dtype {
        FloatType::F32 => f32::EPSILON as f64,
        FloatType::F16 => f16::EPSILON.to_f64(),
        FloatType::BF16 => bf16::EPSILON.to_f64(),
    }
}

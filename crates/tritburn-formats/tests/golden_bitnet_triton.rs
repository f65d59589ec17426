//! Words and scales, against those that bitnet-triton's own packer wrote (`data/README.md`).

use safetensors::{Dtype, SafeTensors};
use tritburn_formats::quantize::pack_weights;
use tritburn_formats::reference::matmul_w2a16;
use tritburn_formats::{PackedLayout, ScaleGranularity, WeightCode};

const FILE: &[u8] = include_bytes!("data/bitnet_triton.safetensors");

/// Little-endian elements of a tensor.
fn read<const BYTES: usize, T>(name: &str, dtype: Dtype, from: fn([u8; BYTES]) -> T) -> Vec<T> {
    let file = SafeTensors::deserialize(FILE).expect("a safetensors file");
    let tensor = file.tensor(name).expect(name);
    assert_eq!(tensor.dtype(), dtype, "{name}");
    let (elements, rest) = tensor.data().as_chunks::<BYTES>();
    assert!(rest.is_empty(), "{name}");
    elements.iter().map(|&bytes| from(bytes)).collect()
}

#[rstest::rstest]
#[case("n32_k64", 32, 64)]
#[case("n8_k50_padded", 8, 50)]
#[case("n4_k16_zero_row", 4, 16)]
#[case("n3_k7_short", 3, 7)]
fn a_matrix_packs_as_bitnet_triton_packs_it(
    #[case] name: &str,
    #[case] out: usize,
    #[case] k: usize,
) {
    let floats = |field: &str| read(&format!("{name}.{field}"), Dtype::F32, f32::from_le_bytes);
    let layout = PackedLayout::new(out, k, WeightCode::Ternary, ScaleGranularity::Row);
    let matrix = pack_weights(&floats("weights_f32"), &layout.expect("valid")).expect("finite");

    let words = read(
        &format!("{name}.packed_u32"),
        Dtype::U32,
        u32::from_le_bytes,
    );
    assert_eq!(matrix.words(), words);
    let ternary = read(&format!("{name}.weights"), Dtype::I8, i8::from_le_bytes);
    for (i, &w) in ternary.iter().enumerate() {
        assert_eq!(matrix.value(i / k, i % k), Some(w as i32), "weight {i}");
    }
    let scales = floats("scale_f32");
    assert_eq!(matrix.scales().len(), scales.len());
    for (got, expected) in matrix.scales().iter().zip(&scales) {
        assert!((got / expected - 1.0).abs() < 1e-6, "{got} {expected}");
    }

    let y = matmul_w2a16(&floats("forward.x_f32"), &matrix, None);
    let expected = read(
        &format!("{name}.forward.y_f64"),
        Dtype::F64,
        f64::from_le_bytes,
    );
    assert_eq!(y.len(), expected.len());
    for (&got, expected) in y.iter().zip(expected) {
        let error = (got as f64 - expected).abs();
        assert!(error <= 2e-6 * expected.abs().max(1.0), "{got} {expected}");
    }
}

//! Layers of reduced-kobold checkpoints.

use half::f16;
use tempfile::TempDir;
use tritburn::formats::affine::Bits;
use tritburn::formats::codec::int4matmul::{self, IntMatrix, SparseInt4};
use tritburn::formats::file::{DType, Safetensors, SafetensorsWriter, TensorSpec};
use tritburn::{AffineLinear, ImportError};

use crate::common::{device, devices, matrix, relative_error, to_vec, values};

/// Name without the layer's, type, shape and bytes.
type Stored = (&'static str, DType, Vec<usize>, Vec<u8>);

fn words(name: &'static str, shape: [usize; 2], words: &[u32]) -> Stored {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    (name, DType::I32, shape.to_vec(), bytes)
}

fn floats(name: &'static str, shape: &[usize], floats: &[f16]) -> Stored {
    let bytes = floats
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    (name, DType::F16, shape.to_vec(), bytes)
}

fn file(tensors: &[Stored]) -> (TempDir, Safetensors) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let name = |part: &str| format!("up.{part}");
    let specs = tensors
        .iter()
        .map(|(part, dtype, shape, _)| TensorSpec::new(name(part), *dtype, shape.clone()));
    let specs: Vec<TensorSpec> = specs.collect();
    let mut writer = SafetensorsWriter::create(&path, &Default::default(), &specs).unwrap();
    for (part, _, _, bytes) in tensors {
        writer.write(&name(part), bytes).unwrap();
    }
    writer.finish().unwrap();
    let file = Safetensors::open(&path).unwrap();
    (folder, file)
}

fn halves(seed: u64, len: usize, map: fn(f32) -> f32) -> Vec<f16> {
    let values = values(seed, len).into_iter();
    values.map(|value| f16::from_f32(map(value))).collect()
}

/// `[12, 128]` made-up codes with a scale and a zero point for 64 inputs, or for all.
fn made_up(bits: Bits, group: Option<usize>, kept: impl Fn(usize) -> bool) -> IntMatrix {
    let levels = usize::from(bits.max_code()) + 1;
    let code = |at: usize| match kept(at) {
        true => (at * 31 / 7 % levels) as u8,
        false => 0,
    };
    let groups = group.map_or(1, |size| 128 / size);
    let scales = halves(1, 12 * groups, |x| x.abs() + 0.1);
    let zeros = halves(2, 12 * groups, |x| x + 4.0);
    let codes = (0..12 * 128).map(code).collect();
    IntMatrix::new([12, 128], bits, group, codes, scales, zeros).unwrap()
}

fn check(file: &Safetensors, bits: Bits, group: Option<usize>, weights: &[f32], bias: &[f32]) {
    for device in devices() {
        let layer = AffineLinear::from_reduced_kobold(file, "up", bits, group, &device).unwrap();
        let x = matrix(3, 5, 128, &device);
        let inputs = to_vec(x.clone());
        let rows = inputs
            .chunks(128)
            .flat_map(|x| weights.chunks(128).zip(bias).map(move |w| (x, w)));
        let expected: Vec<f32> = rows
            .map(|(x, (w, bias))| x.iter().zip(w).map(|(x, w)| x * w).sum::<f32>() + bias)
            .collect();
        assert!(
            relative_error(&to_vec(layer.forward(x)), &expected) < 1e-5,
            "{device:?}"
        );
    }
}

#[test]
fn dense_layers_of_all_bits_under_either_name() {
    for (bits, name) in [
        (Bits::Two, "quantized_weights"),
        (Bits::Three, "qweight"),
        (Bits::Four, "quantized_weights"),
    ] {
        let int = made_up(bits, Some(64), |_| true);
        let bias = halves(4, 12, |x| x);
        let (_folder, file) = file(&[
            words(name, [4 * bits.count(), 12], &int4matmul::encode(&int)),
            floats("scales", &[2, 12], int.scales()),
            floats("zeros", &[2, 12], int.zeros()),
            floats("bias", &[12], &bias),
        ]);
        let bias: Vec<f32> = bias.iter().map(|b| b.to_f32()).collect();
        check(&file, bits, Some(64), &int.dequantize().unwrap(), &bias);
    }
}

#[test]
fn sparse_layers_with_one_group_and_no_bias() {
    // Every other input of a row is kept, odd ones in odd rows.
    let kept = |at: usize| at % 2 == at / 128 % 2;
    let int = made_up(Bits::Four, None, kept);
    let masks = (0..12 * 4).map(|at| [0x5555_5555, 0xaaaa_aaaa][at / 4 % 2]);
    let sparse = SparseInt4::new(int.clone(), masks.collect()).unwrap();
    let stored = int4matmul::encode_sparse(&sparse);
    let tensors = [
        words("quantized_weights", [8, 12], &stored.weights),
        words("quantized_mask", [4, 12], &stored.mask),
        floats("scales", &[12], int.scales()),
        floats("zeros", &[1, 12], int.zeros()),
    ];
    let (_folder, file) = file(&tensors);
    let weights = sparse.dequantize().unwrap();
    check(&file, Bits::Four, None, &weights, &[0.0; 12]);
    let wrong = AffineLinear::from_reduced_kobold(&file, "up", Bits::Three, None, &device());
    assert!(matches!(wrong, Err(ImportError::Codec { .. })));
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let int = made_up(Bits::Four, Some(64), |_| true);
    let tensors = [
        words("quantized_weights", [16, 12], &int4matmul::encode(&int)),
        floats("scales", &[2, 12], int.scales()),
        floats("zeros", &[2, 12], int.zeros()),
    ];
    let read = |tensors: &[Stored], group| {
        let (_folder, file) = file(tensors);
        let layer = AffineLinear::from_reduced_kobold(&file, "up", Bits::Four, group, &device());
        layer.map(|_| ()).unwrap_err()
    };
    let mut flat = tensors.clone();
    flat[1].2 = vec![24];
    let refused = read(&flat, Some(64));
    assert!(
        matches!(&refused, ImportError::Shape { tensor, found, .. } if tensor == "up.scales" && *found == [24]),
        "{refused:?}"
    );
    let mut wide = tensors.clone();
    wide[0].1 = DType::U32;
    let refused = read(&wide, Some(64));
    assert!(
        matches!(&refused, ImportError::Type { tensor, .. } if tensor == "up.quantized_weights")
    );
    assert!(matches!(
        read(&tensors[..2], Some(64)),
        ImportError::File(_)
    ));
    // 80 inputs are no group of the format.
    assert!(matches!(
        read(&tensors, Some(80)),
        ImportError::Codec { .. }
    ));
    // A negative scale means powers of two.
    let mut exponent = tensors.clone();
    exponent[1].3[1] |= 0x80;
    let refused = read(&exponent, Some(64));
    assert!(matches!(refused, ImportError::Codec { .. }), "{refused:?}");
}

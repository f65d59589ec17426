//! AWQ's interleaved fields.

use half::f16;
use tritburn_formats::affine::{AffineLayout, Bits, FloatType, Floats};
use tritburn_formats::codec::CodecError;
use tritburn_formats::codec::awq::{AwqTensors, decode, encode};

use crate::affine::random_matrix;

/// As AutoAWQ's packer puts them: output `8j + order[i]` at bit `4i` of word `j`.
#[test]
fn fields_of_a_word_hold_even_outputs_then_odd_ones() {
    let (out, k) = (16, 3);
    let code = |output: usize, input: usize| ((5 * output + 3 * input) % 16) as u32;
    let word = |input: usize, j: usize| {
        [0, 2, 4, 6, 1, 3, 5, 7]
            .iter()
            .enumerate()
            .fold(0, |w, (i, o)| w | code(8 * j + o, input) << (4 * i))
    };
    let tensors = AwqTensors {
        qweight: (0..k * 2).map(|at| word(at / 2, at % 2)).collect(),
        qzeros: vec![word(7, 0), word(7, 1)],
        scales: Floats::F16((1..=16).map(|s| f16::from_f32(s as f32)).collect()),
    };
    let matrix = decode(&tensors, [out, k], None).expect("a valid layer");
    for (i, w) in matrix.dequantize().iter().enumerate() {
        let (output, input) = (i / k, i % k);
        let expected = code(output, input) as f32 - code(output, 7) as f32;
        assert_eq!(*w, expected * (output + 1) as f32);
    }
    assert_eq!(encode(&matrix), Ok(tensors));
}

#[test]
fn layers_survive_and_others_are_refused() {
    let format = "AWQ";
    let layout = |bits| AffineLayout::new([24, 100], bits, Some(48)).expect("valid");
    let matrix = random_matrix(layout(Bits::Four).with_floats(FloatType::F32), 3);
    let tensors = encode(&matrix).expect("midpoints are whole");
    assert_eq!(decode(&tensors, [24, 100], Some(48)), Ok(matrix));
    let no_place = |what| Err(CodecError::NoPlace { format, what });
    let three = random_matrix(layout(Bits::Three), 3);
    assert_eq!(encode(&three), no_place("codes of other than 4 bits"));
    let ordered = random_matrix(layout(Bits::Four).with_order(), 3);
    assert_eq!(encode(&ordered), no_place("an order of inputs"));
    let real = random_matrix(layout(Bits::Four).with_zeros(), 3);
    assert!(matches!(
        encode(&real),
        Err(CodecError::ZeroRange {
            row: 0,
            group: 0,
            ..
        })
    ));

    let length = |what, found, expected| {
        Err(CodecError::Length {
            format,
            what,
            found,
            expected,
        })
    };
    let wrong = |change: fn(&mut AwqTensors)| {
        let mut tensors = tensors.clone();
        change(&mut tensors);
        decode(&tensors, [24, 100], Some(48)).map(|_| ())
    };
    assert_eq!(
        wrong(|t| t.qweight.truncate(299)),
        length("qweight words", 299, 300)
    );
    assert_eq!(
        wrong(|t| t.qzeros.truncate(8)),
        length("qzeros words", 8, 9)
    );
    let scales = wrong(|t| t.scales = Floats::F32(vec![1.0; 71]));
    assert_eq!(scales, length("scales", 71, 72));
    let (what, value, multiple) = ("out_features", 20, 8);
    assert_eq!(
        decode(&tensors, [20, 100], Some(48)).map(|_| ()),
        Err(CodecError::Multiple {
            format,
            what,
            value,
            multiple
        })
    );
}

//! Reading golden vectors, see `tests/data/README.md`.

use bytemuck::AnyBitPattern;
use safetensors::SafeTensors;
use serde_json::Value;
use tritburn_formats::matrix::pack_codes;
use tritburn_formats::{PackedLayout, PackedMatrix, ScaleGranularity, WeightCode};

/// A safetensors file of cases: flat tensors `<case>.<field>`.
pub struct Golden {
    file: SafeTensors<'static>,
    info: Value,
}

impl Golden {
    pub fn open(bytes: &'static [u8]) -> Self {
        let (_, header) = SafeTensors::read_metadata(bytes).expect("a header");
        let metadata = header.metadata().as_ref();
        let info = metadata.and_then(|m| m.get("info")).map_or("null", |i| i);
        Self {
            file: SafeTensors::deserialize(bytes).expect("a safetensors file"),
            info: serde_json::from_str(info).expect("JSON"),
        }
    }

    /// Everything but the arrays.
    pub fn cases(&self) -> &[Value] {
        let cases = self.info["cases"].as_array().expect("cases");
        assert!(!cases.is_empty());
        cases
    }

    /// Elements of a tensor of any type of the size of `T`.
    pub fn tensor<T: AnyBitPattern>(&self, name: &str) -> Vec<T> {
        let tensor = self.file.tensor(name).expect(name);
        assert_eq!(tensor.dtype().bitsize(), 8 * size_of::<T>(), "{name}");
        let elements = tensor.data().chunks_exact(size_of::<T>());
        elements.map(bytemuck::pod_read_unaligned).collect()
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.file.tensor(name).is_ok()
    }
}

/// Name, rows and columns of a case.
pub fn shape(case: &Value) -> (&str, usize, usize) {
    let number = |i: usize| case["shape"][i].as_u64().expect("shape") as usize;
    (case["name"].as_str().expect("name"), number(0), number(1))
}

/// Bits written as hex digits.
pub fn bits(value: &Value) -> u32 {
    u32::from_str_radix(value.as_str().expect("hex"), 16).expect("hex")
}

/// Numbers of a JSON array.
pub fn integers(value: &Value) -> Vec<i64> {
    let number = |v: &Value| v.as_i64().expect("an integer");
    value
        .as_array()
        .expect("array")
        .iter()
        .map(number)
        .collect()
}

/// Bytes of hex digits.
pub fn bytes(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex");
    let byte = |i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A matrix of values -1, 0, +1.
pub fn matrix(
    ternary: &[i8],
    out: usize,
    k: usize,
    scale: ScaleGranularity,
    scales: &[f32],
) -> PackedMatrix {
    let layout = PackedLayout::new(out, k, WeightCode::Ternary, scale).expect("a valid layout");
    let codes: Vec<u8> = ternary.iter().map(|w| (w + 1) as u8).collect();
    let words = pack_codes(&codes, &layout).expect("as many as the layout has");
    PackedMatrix::new(layout, words, scales.to_vec()).expect("a valid matrix")
}

//! Arrays of integers of every width.

use tritburn_formats::file::gguf::{Array, Value};

#[test]
fn integers_of_every_width_are_integers() {
    let arrays = [
        (Array::U8(vec![1, 255]), vec![1, 255]),
        (Array::I8(vec![-128, 127]), vec![-128, 127]),
        (Array::U16(vec![0, 65535]), vec![0, 65535]),
        (Array::I16(vec![-32768, 3]), vec![-32768, 3]),
        (Array::U32(vec![6, u32::MAX]), vec![6, u32::MAX.into()]),
        (Array::I32(vec![i32::MIN, 1]), vec![i32::MIN.into(), 1]),
        (Array::U64(vec![1 << 40]), vec![1 << 40]),
        (
            Array::I64(vec![i64::MIN, i64::MAX]),
            vec![i64::MIN, i64::MAX],
        ),
        (Array::U32(vec![]), vec![]),
    ];
    for (array, expected) in arrays {
        assert_eq!(array.to_integers(), Some(expected.clone()));
        assert_eq!(Value::Array(array).to_integers(), Some(expected));
    }
    for array in [
        Array::U64(vec![0, i64::MAX as u64 + 1]),
        Array::F32(vec![1.0]),
        Array::F64(vec![1.0]),
        Array::Bool(vec![true]),
        Array::String(vec!["1".into()]),
        Array::Array(vec![Array::U8(vec![1])]),
    ] {
        assert_eq!(Value::Array(array).to_integers(), None);
    }
    assert_eq!(Value::U32(1).to_integers(), None);
}

//! A file's values in the element types of a model.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use burn::tensor::{DType, TensorData};

use super::error::StoreError;
use super::file::Tensors;

/// The tensors of a file in `types`, the element types of a model's parameters by path.
///
/// Floats are rounded to nearest, ties to even, where the model's type is the narrower one.
///
/// # Errors
/// [`StoreError::Value`] for a finite float that the type would make infinite, and for an integer
/// outside of its range; [`StoreError::DType`] for types with no conversion.
pub(super) fn to_types(
    file: Tensors,
    types: &BTreeMap<String, DType>,
) -> Result<Tensors, StoreError> {
    file.into_iter()
        .map(|(tensor, data)| match types.get(&tensor) {
            Some(&dtype) if dtype != data.dtype() && !dtype.is_bool() => {
                let data = convert(&tensor, data, dtype)?;
                Ok((tensor, data))
            }
            _ => Ok((tensor, data)),
        })
        .collect()
}

fn convert(tensor: &str, data: TensorData, dtype: DType) -> Result<TensorData, StoreError> {
    let refused = StoreError::DType {
        tensor: tensor.to_string(),
        found: data.dtype(),
        expected: dtype,
    };
    let value = |value: String| StoreError::Value {
        tensor: tensor.to_string(),
        value,
        dtype,
    };
    if let Some(range) = range(dtype) {
        // Ahead of the conversion, which panics outside of the range.
        let Some(values) = integers(&data) else {
            return Err(refused);
        };
        if let Some(outside) = values.iter().find(|value| !range.contains(value)) {
            return Err(value(outside.to_string()));
        }
        return data.try_cast(dtype).map_err(|_| refused);
    }
    let (Ok(before), Ok(data)) = (data.try_to_vec_as::<f32>(), data.try_cast(dtype)) else {
        return Err(refused);
    };
    let Ok(after) = data.try_to_vec_as::<f32>() else {
        return Err(refused);
    };
    match before
        .iter()
        .zip(after)
        .find(|(before, after)| before.is_finite() && !after.is_finite())
    {
        Some((lost, _)) => Err(value(lost.to_string())),
        None => Ok(data),
    }
}

/// The values of an integer type; `None` for any other type.
fn range(dtype: DType) -> Option<RangeInclusive<i128>> {
    Some(match dtype {
        DType::I64 => i64::MIN.into()..=i64::MAX.into(),
        DType::I32 => i32::MIN.into()..=i32::MAX.into(),
        DType::I16 => i16::MIN.into()..=i16::MAX.into(),
        DType::I8 => i8::MIN.into()..=i8::MAX.into(),
        DType::U64 => 0..=u64::MAX.into(),
        DType::U32 => 0..=u32::MAX.into(),
        DType::U16 => 0..=u16::MAX.into(),
        DType::U8 => 0..=u8::MAX.into(),
        _ => return None,
    })
}

fn integers(data: &TensorData) -> Option<Vec<i128>> {
    match data.dtype() {
        DType::U64 => {
            let values = data.try_to_vec::<u64>().ok()?;
            Some(values.into_iter().map(i128::from).collect())
        }
        _ => {
            let values = data.try_to_vec_as::<i64>().ok()?;
            Some(values.into_iter().map(i128::from).collect())
        }
    }
}

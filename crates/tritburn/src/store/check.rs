//! Checks of a file against a model, all made before anything is loaded.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, DType, Int, Shape, Tensor};
use tritburn_formats::{PackedHeader, PackedLayout, PackedMatrix};

use super::error::StoreError;
use super::file::Tensors;
use super::load::codes_path;
use crate::error::check_scales;
use crate::pack::BitLayer;

/// The header of every 2-bit layer: readable, and the same as the model's.
pub(super) fn headers(layers: &[BitLayer], file: &Tensors) -> Result<(), StoreError> {
    for layer in layers {
        let tensor = header_path(&layer.path);
        let data = file.get(&tensor).ok_or_else(|| StoreError::Missing {
            tensor: tensor.clone(),
        })?;
        let words = data.as_slice::<u32>().map_err(|_| StoreError::DType {
            tensor: tensor.clone(),
            found: data.dtype(),
            expected: DType::U32,
        })?;
        let header = PackedHeader::from_words(words).map_err(|source| StoreError::Header {
            tensor: tensor.clone(),
            source,
        })?;
        if header.layout() != &layer.layout {
            let (found, expected) = (describe(header.layout()), describe(&layer.layout));
            return Err(StoreError::Layout {
                tensor,
                found,
                expected,
            });
        }
    }
    Ok(())
}

/// Codes and scales of every packed layer: valid codes, finite scales.
pub(super) fn packed(layers: &[BitLayer], file: &Tensors) -> Result<(), StoreError> {
    for layer in layers {
        let (Some(codes), Some(scales)) =
            (file.get(&codes_path(&layer.path)), file.get(&layer.path))
        else {
            continue;
        };
        let tensor = layer.path.clone();
        let wrong = |found, expected| StoreError::DType {
            tensor: tensor.clone(),
            found,
            expected,
        };
        let codes = codes
            .as_slice::<u32>()
            .map_err(|_| wrong(codes.dtype(), DType::U32))?;
        let scales = scales
            .as_slice::<f32>()
            .map_err(|_| wrong(scales.dtype(), DType::F32))?;
        check_scales(&layer.path, scales)?;
        PackedMatrix::new(layer.layout.clone(), codes.to_vec(), scales.to_vec())
            .map_err(|source| StoreError::Packed { tensor, source })?;
    }
    Ok(())
}

/// Names, shapes and kinds: the file holds exactly the tensors of the model. Returns the element
/// types of the model's parameters by path.
pub(super) fn tensors<M: Module>(
    model: &M,
    file: &Tensors,
) -> Result<BTreeMap<String, DType>, StoreError> {
    let mut visitor = Compare {
        path: Vec::new(),
        file,
        types: BTreeMap::new(),
        failed: None,
    };
    model.visit(&mut visitor);
    let Compare { types, failed, .. } = visitor;
    if let Some(error) = failed {
        return Err(error);
    }
    match file.keys().find(|name| !types.contains_key(*name)) {
        Some(tensor) => Err(StoreError::Unexpected {
            tensor: tensor.clone(),
        }),
        None => Ok(types),
    }
}

struct Compare<'a> {
    path: Vec<String>,
    file: &'a Tensors,
    types: BTreeMap<String, DType>,
    failed: Option<StoreError>,
}

impl Compare<'_> {
    /// Compares a parameter with the file. `dtype` is its element type, asked for last: it
    /// initialises the parameter.
    fn check(
        &mut self,
        expected: Shape,
        dtype: impl FnOnce() -> DType,
        converts: impl Fn(DType, DType) -> bool,
    ) {
        if self.failed.is_none() {
            self.failed = self.compare(expected, dtype, converts).err();
        }
    }

    fn compare(
        &mut self,
        expected: Shape,
        dtype: impl FnOnce() -> DType,
        converts: impl Fn(DType, DType) -> bool,
    ) -> Result<(), StoreError> {
        let tensor = self.path.join(".");
        let Some(data) = self.file.get(&tensor) else {
            return Err(StoreError::Missing { tensor });
        };
        if data.shape() != &expected {
            let (found, expected) = (data.shape().to_vec(), expected.to_vec());
            return Err(StoreError::Shape {
                tensor,
                found,
                expected,
            });
        }
        let (found, expected) = (data.dtype(), dtype());
        if found != expected && !converts(found, expected) {
            return Err(StoreError::DType {
                tensor,
                found,
                expected,
            });
        }
        self.types.insert(tensor, expected);
        Ok(())
    }
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let dtype = || param.base().dtype();
        self.check(param.lazy_shape(), dtype, |found, expected| {
            matches!(found, DType::F32 | DType::F16 | DType::BF16)
                && matches!(expected, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
        });
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let dtype = || param.base().dtype();
        self.check(param.lazy_shape(), dtype, |found, expected| {
            // Codes and headers are U32 words, and nothing else may become one.
            expected != DType::U32 && (found.is_int() || found.is_uint())
        });
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let dtype = || param.base().dtype();
        self.check(param.lazy_shape(), dtype, |found, _| found.is_bool());
    }
}

fn header_path(weight_path: &str) -> String {
    match weight_path.rsplit_once('.') {
        Some((layer, _)) => format!("{layer}.header"),
        None => "header".to_string(),
    }
}

fn describe(layout: &PackedLayout) -> String {
    serde_json::to_string(layout).unwrap_or_else(|_| format!("{layout:?}"))
}

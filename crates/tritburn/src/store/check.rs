//! Checks of a file against a model, all made before anything is loaded.

use std::collections::BTreeSet;

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

/// Names, shapes and kinds: the file holds exactly the tensors of the model. Float parameters take
/// the float type of the file.
pub(super) fn tensors<M: Module>(model: &M, file: &Tensors) -> Result<(), StoreError> {
    let mut visitor = Compare {
        path: Vec::new(),
        file,
        seen: BTreeSet::new(),
        failed: None,
    };
    model.visit(&mut visitor);
    let Compare { seen, failed, .. } = visitor;
    if let Some(error) = failed {
        return Err(error);
    }
    match file.keys().find(|name| !seen.contains(*name)) {
        Some(tensor) => Err(StoreError::Unexpected {
            tensor: tensor.clone(),
        }),
        None => Ok(()),
    }
}

struct Compare<'a> {
    path: Vec<String>,
    file: &'a Tensors,
    seen: BTreeSet<String>,
    failed: Option<StoreError>,
}

impl Compare<'_> {
    fn check(&mut self, expected: Shape, kind: DType, same_kind: impl Fn(DType) -> bool) {
        if self.failed.is_none() {
            self.failed = self.compare(expected, kind, same_kind).err();
        }
    }

    fn compare(
        &mut self,
        expected: Shape,
        kind: DType,
        same_kind: impl Fn(DType) -> bool,
    ) -> Result<(), StoreError> {
        let tensor = self.path.join(".");
        self.seen.insert(tensor.clone());
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
        if !same_kind(data.dtype()) {
            return Err(StoreError::DType {
                tensor,
                found: data.dtype(),
                expected: kind,
            });
        }
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
        self.check(param.lazy_shape(), DType::F32, |dtype| {
            matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
        });
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        // Codes and headers are U32 words; any other integer type would change them.
        let expected = param.base().dtype();
        let exact = expected == DType::U32;
        self.check(param.lazy_shape(), expected, |dtype| {
            dtype == expected || !exact && (dtype.is_int() || dtype.is_uint())
        });
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.check(param.lazy_shape(), param.base().dtype(), |dtype| {
            dtype.is_bool()
        });
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

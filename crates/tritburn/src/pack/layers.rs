//! Finding the 2-bit layers of a model.

use std::any::Any;

use burn::module::{Module, ModuleVisitor, Param, Reparameterization};
use burn::tensor::{Element, ExecutionError, Int, Tensor, TensorData};
use tritburn_formats::{PackedHeader, PackedLayout};

use crate::error::PackError;
use crate::nn::PackedWeight;

/// The weight of one `BitLinear` in a model.
pub(crate) struct BitLayer {
    /// Path of the weight parameter, `block.0.up.weight`.
    pub path: String,
    /// What the layer's header says.
    pub layout: PackedLayout,
    /// Its state.
    pub weight: LayerWeight,
}

/// Latent, possibly not initialised yet, or packed.
pub(crate) enum LayerWeight {
    Latent(Param<Tensor<2>>),
    Packed { codes: Tensor<1, Int> },
}

/// Every 2-bit layer of `model`, in declaration order.
///
/// # Errors
/// [`PackError::Tensor`] for a header that cannot be read.
pub(crate) fn bit_layers<M: Module>(model: &M) -> Result<Vec<BitLayer>, PackError> {
    let mut visitor = LayerVisitor::default();
    model.visit(&mut visitor);
    visitor.layers.into_iter().collect()
}

/// Reads a tensor's data as a vector of its own element type.
pub(crate) fn read_vec<E: Element>(
    path: &str,
    data: Result<TensorData, ExecutionError>,
) -> Result<Vec<E>, PackError> {
    let failed = |reason: String| PackError::Read {
        tensor: path.to_string(),
        reason,
    };
    let data = data.map_err(|error| failed(error.to_string()))?;
    let values = data
        .as_slice::<E>()
        .map_err(|error| failed(format!("{error:?}")))?;
    Ok(values.to_vec())
}

#[derive(Default)]
struct LayerVisitor {
    /// Field names and container types from the root down.
    stack: Vec<(String, String)>,
    /// A weight whose header has not come yet, with the codes if it is packed.
    pending: Option<(String, Param<Tensor<2>>, Option<Tensor<1, Int>>)>,
    /// Name of a reparameterization of that weight which is not ours.
    foreign: Option<String>,
    layers: Vec<Result<BitLayer, PackError>>,
}

impl LayerVisitor {
    fn path(&self) -> String {
        let names: Vec<&str> = self.stack.iter().map(|(name, _)| name.as_str()).collect();
        names.join(".")
    }

    fn at_field(&self, field: &str) -> bool {
        self.stack
            .last()
            .is_some_and(|(name, container)| name == field && container == "Struct:BitLinear")
    }
}

impl ModuleVisitor for LayerVisitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == "Reparameterization"
            && name != PackedWeight::NAME
            && self.at_field("weight")
        {
            self.foreign = Some(name.to_string());
        }
        self.stack
            .push((name.to_string(), container_type.to_string()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.stack.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.at_field("weight")
            && let Some(weight) = (param as &dyn Any).downcast_ref::<Param<Tensor<2>>>()
        {
            self.pending = Some((self.path(), weight.clone(), None));
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        if D != 1 {
            return;
        }
        let value = || Tensor::<1, Int>::from_dispatch(param.base().into_dispatch());
        let packed_path = [PackedWeight::NAME, "codes"];
        if self
            .stack
            .iter()
            .rev()
            .zip(packed_path.iter().rev())
            .all(|((name, _), p)| name == p)
        {
            if let Some((.., codes)) = &mut self.pending {
                *codes = Some(value());
            }
        } else if self.at_field("header") {
            let path = self.path();
            if let Some((weight_path, weight, codes)) = self.pending.take() {
                if let Some(name) = self.foreign.take() {
                    self.layers.push(Err(PackError::Reparameterized {
                        tensor: weight_path,
                        name,
                    }));
                    return;
                }
                let layer = read_header(&path, value()).map(|layout| BitLayer {
                    path: weight_path,
                    layout,
                    weight: match codes {
                        Some(codes) => LayerWeight::Packed { codes },
                        None => LayerWeight::Latent(weight),
                    },
                });
                self.layers.push(layer);
            }
        }
    }
}

fn read_header(path: &str, words: Tensor<1, Int>) -> Result<PackedLayout, PackError> {
    let words = read_vec::<u32>(path, words.try_into_data())?;
    PackedHeader::from_words(&words)
        .map(|header| header.layout().clone())
        .map_err(|error| PackError::Tensor {
            tensor: path.to_string(),
            source: error.into(),
        })
}

//! Reading the parameters of a model.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Bool, ExecutionError, Int, Tensor, TensorData};

use super::file::Tensors;
use crate::error::PackError;

/// Every tensor parameter of `model` by path, in the dtype it has. Bases and state of
/// reparameterized parameters come separately, as in Burn's records.
pub(super) fn tensors<M: Module>(model: &M) -> Result<Tensors, PackError> {
    let mut visitor = Collect::default();
    model.visit(&mut visitor);
    match visitor.failed {
        Some(error) => Err(error),
        None => Ok(visitor.tensors),
    }
}

#[derive(Default)]
struct Collect {
    path: Vec<String>,
    tensors: Tensors,
    failed: Option<PackError>,
}

impl Collect {
    fn add(&mut self, data: Result<TensorData, ExecutionError>) {
        let tensor = self.path.join(".");
        match data {
            Ok(data) => {
                self.tensors.insert(tensor, data);
            }
            Err(error) => {
                self.failed = Some(PackError::Read {
                    tensor,
                    reason: error.to_string(),
                });
            }
        }
    }
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.add(param.transform_for_save().base().try_into_data());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.add(param.transform_for_save().base().try_into_data());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.add(param.transform_for_save().base().try_into_data());
    }
}

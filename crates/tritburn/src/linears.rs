//! The `Linear`s of a model.

use std::collections::HashSet;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

use crate::error::Error;

/// Where the weights of a model's `Linear`s are, and their shapes `[d_input, d_output]`.
pub(crate) struct Linears {
    pub paths: HashSet<String>,
    pub shapes: Vec<[usize; 2]>,
}

impl Linears {
    /// Finds them.
    ///
    /// # Errors
    /// [`Error::Reparameterized`] if one carries a reparameterization: they do not nest.
    pub fn of<M: Module>(model: &M) -> Result<Self, Error> {
        let mut visitor = LinearVisitor::default();
        model.visit(&mut visitor);
        match visitor.foreign {
            Some(name) => Err(Error::Reparameterized { name }),
            None => Ok(Self {
                paths: visitor.paths,
                shapes: visitor.shapes,
            }),
        }
    }
}

#[derive(Default)]
struct LinearVisitor {
    stack: Vec<(String, bool)>,
    /// A reparameterization that a weight carries already.
    foreign: Option<String>,
    paths: HashSet<String>,
    shapes: Vec<[usize; 2]>,
}

impl LinearVisitor {
    fn at_weight(&self) -> bool {
        self.stack.last().is_some_and(|(_, weight)| *weight)
    }
}

impl ModuleVisitor for LinearVisitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == "Reparameterization" && self.at_weight() {
            self.foreign = Some(name.to_string());
        }
        let weight = name == "weight" && container_type == "Struct:Linear";
        self.stack.push((name.to_string(), weight));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.stack.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D == 2 && self.at_weight() {
            let names: Vec<&str> = self.stack.iter().map(|(name, _)| name.as_str()).collect();
            self.paths.insert(names.join("."));
            self.shapes.push(param.lazy_shape().dims());
        }
    }
}

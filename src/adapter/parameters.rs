//! A module's parameters by name, for files: the names are the paths of the fields, and a linear layer's weight
//! is `[out, in]` as PyTorch has it.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};

/// One named parameter on the host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub(crate) type Parameters = BTreeMap<String, Parameter>;

/// Copies every parameter to the host.
pub(crate) fn collect<M: Module>(module: &M) -> Parameters {
    let mut collector = Collector::default();
    module.visit(&mut collector);
    collector.parameters
}

/// Replaces every parameter by the one of its name. The names that are missing or of another shape are returned
/// with what was expected and found.
pub(crate) fn load<M: Module>(module: M, parameters: &Parameters) -> std::result::Result<M, Mismatch> {
    let mut loader = Loader { parameters, path: Path::default(), mismatch: None };
    let module = module.map(&mut loader);
    match loader.mismatch {
        None => Ok(module),
        Some(mismatch) => Err(mismatch),
    }
}

/// The first parameter that could not be loaded.
#[derive(Debug, PartialEq)]
pub(crate) struct Mismatch {
    pub name: String,
    pub expected: Vec<usize>,
    pub found: Option<Vec<usize>>,
}

/// Where a traversal stands: the field names from the root, and whether the innermost owner is a linear layer.
#[derive(Default)]
struct Path {
    fields: Vec<(String, bool)>,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        self.fields.push((name.to_owned(), container == "Struct:Linear"));
    }

    fn exit(&mut self) {
        self.fields.pop();
    }

    fn name(&self) -> String {
        self.fields.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".")
    }

    /// Burn keeps a linear layer's weight as `[in, out]`.
    fn turn<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        let linear = self.fields.last().is_some_and(|(_, linear)| *linear);
        if linear && D == 2 { tensor.transpose() } else { tensor }
    }
}

#[derive(Default)]
struct Collector {
    path: Path,
    parameters: Parameters,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = self.path.turn(param.val());
        let shape = tensor.dims().to_vec();
        let values = tensor.into_data().iter::<f32>().collect();
        self.parameters.insert(self.path.name(), Parameter { shape, values });
    }
}

struct Loader<'a> {
    parameters: &'a Parameters,
    path: Path,
    mismatch: Option<Mismatch>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        param.map(|tensor| {
            let expected = self.path.turn(tensor.clone()).dims().to_vec();
            match self.parameters.get(&name) {
                Some(Parameter { shape, values }) if *shape == expected => {
                    let data = TensorData::new(values.clone(), shape.clone());
                    self.path.turn(Tensor::from_data(data, &tensor.device()))
                }
                found => {
                    let found = found.map(|parameter| parameter.shape.clone());
                    self.mismatch.get_or_insert(Mismatch { name, expected, found });
                    tensor
                }
            }
        })
    }
}

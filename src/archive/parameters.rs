//! A module's parameters by name, for files: the names are the paths of the fields, and a linear layer's weight
//! is `[out, in]` as PyTorch has it.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Tensor, TensorData},
};

use crate::error::{Error, Result};
use crate::numerics::transposed;

/// One named parameter on the host.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Parameter {
    /// A matrix with its axes exchanged.
    pub fn turned(&self) -> Self {
        let (rows, columns) = (self.shape[0], self.shape[1]);
        Self { shape: vec![columns, rows], values: transposed(&self.values, rows, columns) }
    }

    /// A copy of a tensor, in its own layout.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Result<Self> {
        let values = tensor.try_to_vec_as::<f32>();
        let values = values.map_err(|error| Error::execution("reading parameters", error))?;
        Ok(Self { shape: tensor.dims().to_vec(), values })
    }
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

    /// Whether this parameter is the weight of a linear layer, which Burn keeps as `[in, out]`.
    fn is_turned(&self, axes: usize) -> bool {
        axes == 2 && self.fields.last().is_some_and(|(_, linear)| *linear)
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
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let parameter = Parameter { shape, values: tensor.into_data().iter::<f32>().collect() };
        let turned = self.path.is_turned(D);
        self.parameters.insert(self.path.name(), if turned { parameter.turned() } else { parameter });
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
        let turned = self.path.is_turned(D);
        param.map(|tensor| {
            let mut expected = tensor.dims().to_vec();
            if turned {
                expected.reverse();
            }
            match self.parameters.get(&name) {
                Some(saved) if saved.shape == expected => {
                    let Parameter { shape, values } = if turned { saved.turned() } else { saved.clone() };
                    Tensor::from_data(TensorData::new(values, shape), &tensor.device())
                }
                saved => {
                    let found = saved.map(|parameter| parameter.shape.clone());
                    self.mismatch.get_or_insert(Mismatch { name, expected, found });
                    tensor
                }
            }
        })
    }
}

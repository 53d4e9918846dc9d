//! A module's parameters by name, for files, as PyTorch has them: the names are the paths of the fields, without the
//! variants of enums; a linear layer's weight is `[out, in]`; and a norm has a `weight` and a `bias`.

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

/// Where a traversal stands: the fields from the root.
#[derive(Default)]
struct Path {
    fields: Vec<Field>,
}

struct Field {
    /// In a file. None for the variant of an enum, which the settings of what is saved tell.
    name: Option<String>,
    /// Whether it is one of a linear layer's.
    linear: bool,
}

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        let norm = container.starts_with("Struct:") && container.ends_with("Norm");
        let name = match name {
            _ if container.starts_with("Enum:") => None,
            "gamma" if norm => Some("weight"),
            "beta" if norm => Some("bias"),
            name => Some(name),
        };
        let name = name.map(str::to_owned);
        self.fields.push(Field { name, linear: container == "Struct:Linear" });
    }

    fn exit(&mut self) {
        self.fields.pop();
    }

    fn name(&self) -> String {
        self.fields.iter().filter_map(|field| field.name.as_deref()).collect::<Vec<_>>().join(".")
    }

    /// Whether this parameter is the weight of a linear layer, which Burn keeps as `[in, out]`.
    fn is_turned(&self, axes: usize) -> bool {
        axes == 2 && self.fields.last().is_some_and(|field| field.linear)
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

#[cfg(test)]
mod tests {
    use burn::nn::conv::{Conv1d, Conv1dConfig};
    use burn::nn::{LayerNorm, LayerNormConfig, Linear, LinearConfig};
    use burn::tensor::Device;

    use super::*;

    #[derive(Module, Debug)]
    enum Structure {
        Line(Linear),
        Slide(Conv1d),
    }

    #[derive(Module, Debug)]
    struct Net {
        norm: LayerNorm,
        layers: Vec<Structure>,
    }

    fn net(device: &Device) -> Net {
        let line = LinearConfig::new(2, 3).init(device);
        let slide = Conv1dConfig::new(3, 4, 5).init(device);
        let layers = vec![Structure::Line(line), Structure::Slide(slide)];
        Net { norm: LayerNormConfig::new(2).init(device), layers }
    }

    /// The names are those of files that are already written: a change of any needs a new format.
    #[test]
    fn names_and_shapes_are_pytorchs() {
        let device = Device::flex();
        let parameters = collect(&net(&device));
        let found: Vec<(&str, &[usize])> =
            parameters.iter().map(|(name, parameter)| (name.as_str(), &parameter.shape[..])).collect();
        let expected: [(&str, &[usize]); 6] = [
            ("layers.0.bias", &[3]),
            ("layers.0.weight", &[3, 2]),
            ("layers.1.bias", &[4]),
            ("layers.1.weight", &[4, 3, 5]),
            ("norm.bias", &[2]),
            ("norm.weight", &[2]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_collected_is_what_is_loaded() {
        let device = Device::flex();
        let saved = collect(&net(&device));
        let same = load(net(&device), &saved).unwrap();
        assert_eq!(collect(&same), saved);

        let mut short = saved;
        short.remove("norm.weight");
        let mismatch = load(net(&device), &short).unwrap_err();
        let expected = Mismatch { name: "norm.weight".into(), expected: vec![2], found: None };
        assert_eq!(mismatch, expected);
    }
}

//! The methods by name, with settings that replace their defaults.

use std::fmt;

use clap::ValueEnum;
use clip_adapter::{
    Error, Result, Run,
    evaluate::retrieval::RetrievalReport,
    features::{Pairs, TestPairs},
    model::Model,
    tasks::retrieval::{self, ClipAdapterPair, DualSoftmax, FittedPair, LinearPair, Nnn, PairMethod, QbNorm},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// What can be done with pairs.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Cosines of CLIP's features
    ZeroShot,
    /// Nearest neighbour normalisation, with the training pairs as its bank
    Nnn,
    /// The same with a and k chosen by halves of the training pairs
    NnnChosen,
    /// QB-Norm's dynamic inverted softmax, with the same bank
    QbNorm,
    /// A linear adapter on both sides
    Linear,
    /// The linear adapter, and nearest neighbour normalisation of what it makes
    LinearNnn,
    /// CLIP-Adapter on both sides
    ClipAdapter,
    /// Dual softmax; transductive: it sees all queries of the test at once
    DualSoftmax,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.to_possible_value();
        f.write_str(name.as_ref().map_or("", |name| name.get_name()))
    }
}

/// Scores test pairs.
type Score = Box<dyn FnOnce(&TestPairs) -> Result<RetrievalReport>>;

/// What came of the training pairs, and how a test is scored with it.
pub struct Fitted {
    pub settings: Value,
    pub chosen: Value,
    pub adapter: Option<FittedPair>,
    pub score: Score,
}

/// `KEY=VALUE`; a value is JSON where it can be, and else a name.
pub fn setting(pair: &str) -> Result<(String, Value)> {
    let Some((key, value)) = pair.split_once('=') else {
        return Err(Error::setting(pair, "KEY=VALUE", "no `=`"));
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
    Ok((key.to_owned(), value))
}

impl Method {
    /// Whether something is trained that can be saved.
    pub fn has_adapter(self) -> bool {
        matches!(self, Self::Linear | Self::LinearNnn | Self::ClipAdapter)
    }

    /// Learns from training pairs.
    pub fn fit(self, settings: &[(String, Value)], train: &Pairs, run: &mut Run<'_>) -> Result<Fitted> {
        let bank = train.clone();
        let plain =
            |settings: Value, score: Score| Fitted { settings, chosen: Value::Null, adapter: None, score };
        Ok(match self {
            Self::ZeroShot => {
                check_known(&json!({}), settings)?;
                plain(json!({}), Box::new(retrieval::evaluate))
            }
            Self::Nnn => {
                let nnn: Nnn = configured(settings)?;
                plain(json!(nnn), Box::new(move |test| nnn.evaluate(&bank, test)))
            }
            Self::NnnChosen => {
                check_known(&json!({}), settings)?;
                let nnn = Nnn::chosen(train)?;
                let chosen = json!(nnn);
                Fitted { chosen, ..plain(json!({}), Box::new(move |test| nnn.evaluate(&bank, test))) }
            }
            Self::QbNorm => {
                let norm: QbNorm = configured(settings)?;
                plain(json!(norm), Box::new(move |test| norm.evaluate(&bank, test)))
            }
            Self::Linear => adapted(configured::<LinearPair>(settings)?, train, run)?,
            Self::ClipAdapter => adapted(configured::<ClipAdapterPair>(settings)?, train, run)?,
            Self::LinearNnn => {
                check_known(&json!([json!(LinearPair::default()), json!(Nnn::default())]), settings)?;
                let (of_nnn, of_linear): (Vec<_>, Vec<_>) =
                    settings.iter().cloned().partition(|(key, _)| json!(Nnn::default()).get(key).is_some());
                let nnn: Nnn = configured(&of_nnn)?;
                let fitted = adapted(configured::<LinearPair>(&of_linear)?, train, run)?;
                let Some(model) = fitted.adapter.clone() else { return Ok(fitted) };
                let settings = json!({ "linear": fitted.settings, "nnn": nnn });
                let score = move |test: &TestPairs| {
                    let bank = retrieval::adapted(&model, &bank)?;
                    nnn.evaluate(&bank, &retrieval::adapted_test(&model, test)?)
                };
                Fitted { settings, score: Box::new(score), ..fitted }
            }
            Self::DualSoftmax => {
                let softmax: DualSoftmax = configured(settings)?;
                plain(json!(softmax), Box::new(move |test| Ok(softmax.evaluate(test)?.0)))
            }
        })
    }
}

fn adapted<M: PairMethod>(method: M, train: &Pairs, run: &mut Run<'_>) -> Result<Fitted> {
    let model = method.fit_with(train, run)?;
    let (settings, chosen, adapter) = (json!(method), model.chosen(), Some(model.clone()));
    let score = move |test: &TestPairs| retrieval::evaluate(&retrieval::adapted_test(&model, test)?);
    Ok(Fitted { settings, chosen, adapter, score: Box::new(score) })
}

/// The defaults with some replaced, one by one, so that an error names the one at fault.
fn configured<T: Default + Serialize + DeserializeOwned>(settings: &[(String, Value)]) -> Result<T> {
    let mut all = json!(T::default());
    check_known(&all, settings)?;
    let mut method = T::default();
    for (key, value) in settings {
        all[key] = value.clone();
        method = serde_json::from_value(all.clone())
            .map_err(|error| Error::setting(key, "a value of its kind", format!("{value} ({error})")))?;
    }
    Ok(method)
}

/// That there are such settings, in one object or one of several.
fn check_known(defaults: &Value, settings: &[(String, Value)]) -> Result<()> {
    let objects: Vec<&Value> = defaults.as_array().map_or(vec![defaults], |all| all.iter().collect());
    let known: Vec<&String> =
        objects.iter().filter_map(|object| object.as_object()).flat_map(|object| object.keys()).collect();
    match settings.iter().find(|(key, _)| !known.contains(&key)) {
        None => Ok(()),
        Some((key, _)) => {
            let names: Vec<&str> = known.iter().map(|key| key.as_str()).collect();
            let expected =
                if names.is_empty() { "no settings".into() } else { format!("one of {}", names.join(", ")) };
            Err(Error::setting(key, expected, "an unknown name"))
        }
    }
}

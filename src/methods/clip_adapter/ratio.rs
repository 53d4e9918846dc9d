use serde::{Deserialize, Serialize, de};

use crate::error::{Error, Result};

/// The weight of the adapted branch, or how to find it.
///
/// In JSON and on a command line it is a number or a name in kebab-case:
///
/// ```
/// use clip_adapter::methods::Ratio;
///
/// assert_eq!(serde_json::from_str::<Ratio>("0.6").unwrap(), Ratio::Fixed(0.6));
/// assert_eq!(serde_json::from_str::<Ratio>("\"hoso\"").unwrap(), Ratio::Hoso);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub enum Ratio {
    /// Learned on one held-out shot of each class while adapters train on the others; then an adapter is trained
    /// on all shots with what was learned. Sees nothing but the shots. HOSO-Adapter, arXiv 2603.04341.
    ///
    /// One shot cannot be held out. The ratio is then what zero-shot CLIP leaves to be learned, `1 - mean p`, where
    /// `p` is the probability that it gives the right class of each shot (CLAP weighs its pull by the same mean,
    /// <https://arxiv.org/abs/2312.12730>): from 0.2, where it is nearly always sure, to at most 0.8.
    #[default]
    Hoso,
    /// A constant, 0..=1. The authors' code uses 0.2.
    Fixed(f64),
    /// The best of 0.2, 0.4, 0.6 and 0.8 on few-shot validation images, which must be given.
    Search,
    /// A parameter like the others, trained on the same shots. It starts at 0.2.
    Learned,
    /// As learned, but one for each class on the text side.
    LearnedPerClass,
}

/// Names of the ratios that are not numbers.
const NAMED: [(&str, Ratio); 4] = [
    ("hoso", Ratio::Hoso),
    ("search", Ratio::Search),
    ("learned", Ratio::Learned),
    ("learned-per-class", Ratio::LearnedPerClass),
];

impl Ratio {
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Self::Fixed(ratio) if !(0.0..=1.0).contains(&ratio) => {
                Err(Error::setting("ratio", "0..=1", ratio))
            }
            _ => Ok(()),
        }
    }
}

impl Serialize for Ratio {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match (self, NAMED.iter().find(|(_, ratio)| ratio == self)) {
            (_, Some((name, _))) => serializer.serialize_str(name),
            (Self::Fixed(ratio), None) => serializer.serialize_f64(*ratio),
            (other, None) => unreachable!("{other:?} has a name"),
        }
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(f64),
            Name(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(ratio) => Ok(Self::Fixed(ratio)),
            Written::Name(name) => match NAMED.iter().find(|(known, _)| *known == name) {
                Some((_, ratio)) => Ok(*ratio),
                None => {
                    let known = NAMED.map(|(name, _)| format!("`{name}`")).join(", ");
                    Err(de::Error::custom(format!(
                        "ratio: expected a number or one of {known}, found `{name}`"
                    )))
                }
            },
        }
    }
}

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What settings were chosen with. It is part of every number.
///
/// # Examples
/// ```
/// use clip_adapter::Protocol;
///
/// assert_eq!("few-shot-validation".parse::<Protocol>()?, Protocol::FewShotValidation);
/// assert_eq!(Protocol::ValidationFree.to_string(), "validation-free");
/// # Ok::<(), clip_adapter::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Nothing but the shots themselves.
    #[default]
    ValidationFree,
    /// The shots and min(shots, 4) further images a class.
    FewShotValidation,
    /// The test set itself: an upper mark that reproduces published tables, never a result.
    Oracle,
}

impl Protocol {
    /// All protocols, strictest first.
    pub const ALL: [Self; 3] = [Self::ValidationFree, Self::FewShotValidation, Self::Oracle];

    fn name(self) -> &'static str {
        match self {
            Self::ValidationFree => "validation-free",
            Self::FewShotValidation => "few-shot-validation",
            Self::Oracle => "oracle",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(|protocol| format!("`{protocol}`")).join(", ");
            Error::setting("protocol", format!("one of {known}"), format!("`{name}`"))
        })
    }
}

//! The ranges that settings of several methods have.

use super::{Error, Result};

/// Above 0 and finite.
pub(crate) fn positive(name: &str, value: f64) -> Result<()> {
    check(name, value.is_finite() && value > 0.0, "above 0", value)
}

/// 0 or more and finite.
pub(crate) fn not_negative(name: &str, value: f64) -> Result<()> {
    check(name, value.is_finite() && value >= 0.0, "0 or more", value)
}

/// 0 or more, and below 1.
pub(crate) fn below_one(name: &str, value: f64) -> Result<()> {
    check(name, (0.0..1.0).contains(&value), "0..1", value)
}

/// 0 to 1.
pub(crate) fn part(name: &str, value: f64) -> Result<()> {
    check(name, (0.0..=1.0).contains(&value), "0..=1", value)
}

fn check(name: &str, good: bool, range: &str, found: f64) -> Result<()> {
    if good { Ok(()) } else { Err(Error::setting(name, range, found)) }
}

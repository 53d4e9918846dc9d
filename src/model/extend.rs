//! Adding classes to what is fitted.

use crate::error::{Error, Result, listed};
use crate::features::TextClassifier;
use crate::fingerprint::require_backbone;

/// Where each of a longer list of classes, in any order, stands among the present ones; none for a new one.
///
/// # Errors
/// [`Error::Fingerprint`] if the classes are of another backbone, [`Error::Dim`] if they have another width,
/// and [`Error::Data`] if one of the present classes is not among them.
pub(crate) fn places(present: &TextClassifier, classes: &TextClassifier) -> Result<Vec<Option<usize>>> {
    require_backbone("backbones", present.backbone(), classes.backbone())?;
    present.weights().check_dim("class weights", classes.dim())?;
    let (old, new) = (present.class_names(), classes.class_names());
    if let Some(missing) = old.iter().find(|name| !new.contains(name)) {
        return Err(Error::data("classes", format!("`{missing}` among them"), listed(new)));
    }
    Ok(new.iter().map(|name| old.iter().position(|old| old == name)).collect())
}

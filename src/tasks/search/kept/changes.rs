use serde::Serialize;

use super::LeftOut;

/// What an update of an index found, each list in the order of the paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// Images that are new.
    pub added: Vec<String>,
    /// Images whose content is another than it was.
    pub changed: Vec<String>,
    /// Images that are gone.
    pub removed: Vec<String>,
    /// Images that were moved: the path before and the path now.
    pub renamed: Vec<(String, String)>,
    /// Images that are as they were.
    pub unchanged: usize,
    /// Images that the backbone encoded: of equal content only one.
    pub encoded: usize,
    /// Images that have no row, whether found now or before.
    pub left_out: Vec<LeftOut>,
}

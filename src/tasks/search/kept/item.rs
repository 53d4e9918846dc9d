use serde::{Deserialize, Serialize};

/// An image of an index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its path relative to the folder, with `/` between the parts; of a feature file `split/row`.
    pub path: String,
    /// The length of the file, in bytes.
    pub bytes: u64,
    /// When it was last changed, in nanoseconds since 1970.
    pub changed: u64,
    /// The first 32 hexadecimal digits of the SHA-256 of its content, by which it is recognised under another name.
    pub digest: String,
}

/// An image that has no row, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its path relative to the folder.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

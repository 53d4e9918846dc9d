use sha2::{Digest, Sha256};

use super::{Catalogue, Histories};
use crate::fingerprint::short_hex;

/// Names the data of a fit, so that a checkpoint of another is refused.
pub(super) fn digest(histories: &Histories, catalogue: &Catalogue) -> String {
    let mut hash = Sha256::new();
    catalogue.features().values().iter().for_each(|value| hash.update(value.to_le_bytes()));
    for history in histories.iter() {
        hash.update((history.len() as u64).to_le_bytes());
        history.iter().for_each(|&item| hash.update((item as u64).to_le_bytes()));
    }
    short_hex(hash)
}

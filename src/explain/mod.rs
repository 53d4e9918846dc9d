//! What an adapter learned, and whether to trust it.
//!
//! | Question | Answered by |
//! | --- | --- |
//! | what is there to gain, before a fit | [`diagnose`], [`held_out`], [`certificate`] |
//! | how many more images are needed | [`learning_curve`] |
//! | what changed, and for better or worse | [`change`], with the [`nearest_shots`] of a decision |
//! | which labels may be wrong, and which images are in both sets | [`suspects`], [`near_duplicates`] |
//! | what it sees in a feature, before and after | [`Concepts`] |
//! | what its hidden units do, and how much each has in a decision | [`describe_units`], [`shares`], [`text_shares`], [`unit_deletion`] |
//! | where images lie | [`Plane`] |
//! | where in an image something speaks for a class | [`Occlusion`], [`patch_heat`] |
//!
//! Whatever is a [`Classifier`](crate::Classifier) can be asked the first three rows, a
//! [`FeatureMap`](crate::model::FeatureMap) also what it does to features, and one that has
//! [`units`](crate::model::FeatureMap::units) also these. See [`guide::explain`](crate::guide::explain) for what was measured.

mod adapted;
mod change;
mod concepts;
mod diagnosis;
mod evidence;
mod heat;
mod plane;
mod suspects;
mod units;

pub use change::{Change, ClassChange, Decision, Kind, change};
pub use concepts::{
    ConceptChange, ConceptDeletion, Concepts, ConceptsOfClass, Decomposition, Splice, Word, concept_deletion,
};
pub use diagnosis::{
    Certificate, CurvePoint, Diagnosis, HeldOutEstimate, HeldOutShot, LearningCurve, certificate, diagnose,
    held_out, learning_curve,
};
pub use evidence::{Duplicate, Neighbour, near_duplicates, nearest_shots};
pub use heat::{HeatMap, Occlusion, patch_heat};
pub use plane::{Plane, neighbour_purity};
pub use suspects::{Suspect, suspects};
pub use units::{Share, Unit, UnitDeletion, describe_units, shares, text_shares, unit_deletion};

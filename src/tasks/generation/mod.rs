//! Images that a generator made, or is about to make: which of them to keep, what one person likes, and where to steer.
//!
//! Nothing here draws a pixel. A generator of any kind makes candidates; [`Chooser`] ranks them, [`Preference`] learns a
//! person's taste from pairs, [`LinearHead`] reads public aesthetic scores, [`mmr`] and [`dpp`] keep the chosen ones
//! apart. [`Prior`] makes of a sentence the image embedding that an IP-Adapter or unCLIP pipeline takes, and [`slopes`]
//! says how an embedding or pixels should change for a higher score.

mod chooser;
mod diversity;
mod export;
mod guidance;
mod head;
mod mlp_prior;
mod pairs;
mod preference;
mod prior;

pub use chooser::{Choice, Chooser, DISTRACTORS, classifier};
pub use diversity::{dpp, mmr};
pub use export::{Pipeline, export};
pub use guidance::{Slopes, climb, pixel_slopes, slopes};
pub use head::{Head, LinearHead};
pub use mlp_prior::{FittedMlpPrior, MlpPrior};
pub use pairs::{Pair, read_pairs};
pub use preference::{Preference, PreferenceHead};
pub use prior::{FittedPrior, Prior};

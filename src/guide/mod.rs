//! The long form: one page a subject, whose code is compiled and run with the tests.
//!
//! | Page | Answers |
//! | --- | --- |
//! | [`first_minute`] | how images become an adapter, and an adapter labels |
//! | [`own_method`] | how a method outside this crate does all that its own can |
//! | [`own_training`] | how such a method trains, and goes on after it was stopped |
//! | [`architecture`] | which room holds what, what it may import, which trait has which role |
//! | [`methods`] | what each method gains, how that was measured, how one is added to this crate |
//! | [`retrieval`] | how images are found by texts, what a few pairs add, and what they gain |
//! | [`teaching`] | how captions and thumbs teach a search your words, and the page for it |
//! | [`domains`] | how a classifier moves to images that nobody labelled |
//! | [`explain`] | what an adapter learned, and whether to trust it |
//! | [`recommendation`] | how to recommend pictures to people, and when pictures help |
//! | [`generation`] | which generated images to keep, whose taste it is, and how to steer |
//! | [`backbones`] | which CLIPs can be loaded, and what they were held against |
//! | [`pictures`] | what becomes of a picture, and where that is not what Pillow makes of it |
//! | [`questions`] | how questions about pictures are answered, and what an accuracy there is worth |
//! | [`video`] | how videos are read, told apart and found |
//! | [`devices`] | what it runs on, and how each device was tested |
//! | [`search`] | how to find images by a sentence or an image, and keep an index of a folder |
//! | [`speed`] | how fast it is beside PyTorch |
//! | [`files`] | what stands in every file that is written |
//! | [`limits`] | what is refused because it is too large to be true |
//! | [`changelog`] | what changed |

#[doc = include_str!("first_minute.md")]
pub mod first_minute {}

#[doc = include_str!("own_method.md")]
pub mod own_method {}

#[doc = include_str!("own_training.md")]
pub mod own_training {}

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("methods.md")]
pub mod methods {}

#[doc = include_str!("retrieval.md")]
pub mod retrieval {}

#[doc = include_str!("teaching.md")]
pub mod teaching {}

#[doc = include_str!("domains.md")]
pub mod domains {}

#[doc = include_str!("explain.md")]
pub mod explain {}

#[doc = include_str!("recommendation.md")]
pub mod recommendation {}

#[doc = include_str!("generation.md")]
pub mod generation {}

#[doc = include_str!("backbones.md")]
pub mod backbones {}

#[doc = include_str!("pictures.md")]
pub mod pictures {}

#[doc = include_str!("questions.md")]
pub mod questions {}

#[doc = include_str!("video.md")]
pub mod video {}

#[doc = include_str!("devices.md")]
pub mod devices {}

#[doc = include_str!("search.md")]
pub mod search {}

#[doc = include_str!("speed.md")]
pub mod speed {}

#[doc = include_str!("files.md")]
pub mod files {}

#[doc = include_str!("limits.md")]
pub mod limits {}

#[doc = include_str!("changelog.md")]
pub mod changelog {}

/// The program of the README, which the tests compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

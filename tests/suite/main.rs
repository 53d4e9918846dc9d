//! Every integration test, as one binary: building it once is most of the cost.

mod adapter_file;
mod augment;
mod auto;
mod backbone;
mod backbone_commands;
mod bad_input;
mod calibration;
mod captions;
mod clip_adapter;
mod commands;
mod configurations;
mod devices;
mod edges;
mod extract;
mod feature_file;
mod folders;
mod fuzz;
mod hostile;
mod hub;
mod images;
mod learn;
mod methods;
mod options;
mod orientation;
mod own_method;
mod pictures;
mod pocket;
mod pretrain;
mod probes;
mod prompts;
mod properties;
mod reference;
mod search;
#[cfg(feature = "server")]
mod search_page;
#[cfg(feature = "server")]
mod serve;
mod shared;
mod tables;
mod taste;
mod train_folder;
mod trainable;
mod trained_methods;
mod transductive;
mod weights;
mod words;

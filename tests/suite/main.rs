//! Every integration test, as one binary: building it once is most of the cost.

mod adapter_file;
mod augment;
mod auto;
mod backbone;
mod backbone_commands;
mod bad_input;
mod calibration;
mod clip_adapter;
mod commands;
mod devices;
mod edges;
mod extract;
mod feature_file;
mod hostile;
mod hub;
mod images;
mod learn;
mod methods;
mod options;
mod orientation;
mod own_method;
mod pocket;
mod pretrain;
mod probes;
mod prompts;
mod properties;
mod reference;
#[cfg(feature = "server")]
mod serve;
mod shared;
mod tables;
mod train_folder;
mod trainable;
mod trained_methods;
mod transductive;

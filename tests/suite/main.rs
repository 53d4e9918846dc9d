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
mod extract;
mod feature_file;
mod hostile;
mod hub;
mod images;
mod methods;
mod options;
mod orientation;
mod probes;
mod prompts;
mod properties;
mod reference;
mod shared;
mod trainable;
mod trained_methods;
mod transductive;

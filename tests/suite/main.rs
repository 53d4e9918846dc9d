//! Every integration test, as one binary: building it once is most of the cost.

mod adapter_file;
mod backbone;
mod bad_input;
mod clip_adapter;
mod commands;
mod devices;
mod extract;
mod feature_file;
mod methods;
mod properties;
mod reference;
mod shared;
mod trained_methods;

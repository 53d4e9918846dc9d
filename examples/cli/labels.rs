//! The likeliest classes of an image.

use std::path::Path;

use clip_adapter::{evaluate::Ranked, input::readable};
use serde_json::{Value, json};

/// Prints them, and gives them as JSON.
pub fn tell(file: &Path, top: &[Ranked]) -> Value {
    let file = readable(file);
    println!("{file}");
    for Ranked { name, probability, .. } in top {
        println!("  {:>6.2} %  {name}", 100.0 * probability);
    }
    let top: Vec<Value> =
        top.iter().map(|ranked| json!({ "class": ranked.name, "probability": ranked.probability })).collect();
    json!({ "file": file, "top": top })
}

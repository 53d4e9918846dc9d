//! What the examples that name images have in common: the likeliest classes of each.

use std::path::Path;

use serde_json::{Value, json};

/// Prints the likeliest classes of an image, and gives them as JSON.
pub fn tell(file: &Path, probabilities: &[f32], classes: &[String], most: usize) -> Value {
    println!("{}", file.display());
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
    order.truncate(most);
    for &class in &order {
        println!("  {:>6.2} %  {}", 100.0 * probabilities[class], classes[class]);
    }
    let top: Vec<Value> = order
        .into_iter()
        .map(|class| json!({ "class": classes[class], "probability": probabilities[class] }))
        .collect();
    json!({ "file": file, "top": top })
}

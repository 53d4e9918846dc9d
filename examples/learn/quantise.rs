//! Shows how a checkpoint is written in eight bits: a quarter of the size, and about three times as fast on a CPU. Both
//! folders may be given: `cargo run --release --example quantise -- FROM TO`.

use std::env;

use clip_adapter::{backbone::Precision, prelude::*};

const POCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");

fn main() -> Result<()> {
    let folders: Vec<String> = env::args().skip(1).collect();
    let from = folders.first().cloned().unwrap_or(format!("{POCKET}/model"));
    let to = folders.get(1).cloned().unwrap_or(format!("{}/pocket-int8", env::temp_dir().display()));

    let device = Device::flex();
    let clip = ClipBackbone::from_pretrained_in(&from, Precision::Int8, &device)?;
    clip.save_quantised(&to)?;

    let apple = [format!("{POCKET}/images/icon-colour/food/apple.png")];
    let again = ClipBackbone::from_pretrained(&to, &device)?;
    assert_eq!(again.encode_images(&apple)?, clip.encode_images(&apple)?);
    println!("{to} holds {from} in {}", again.precision());
    Ok(())
}

//! Shows that images and sentences become vectors of one space, where close means alike: zero-shot CLIP by hand.

use clip_adapter::{evaluate::Logits, prelude::*};

const POCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");
const NAMES: [&str; 4] = ["apple", "bus", "rainbow", "snowman"];
const FILES: [&str; 4] = ["food/apple", "vehicles/bus", "weather/rainbow", "nature/snowman"];

fn main() -> Result<()> {
    let clip = ClipBackbone::from_pretrained(format!("{POCKET}/model"), &Device::flex())?;
    let files = FILES.map(|file| format!("{POCKET}/images/icon-line/{file}.png"));
    let images = clip.encode_images(&files)?.normalised(); // of unit length, so that a product is a cosine
    let texts = clip.encode_texts(&NAMES.map(|name| format!("an icon of a {name}")))?.normalised();
    println!("{} images and {} texts, {} numbers each", images.rows(), texts.rows(), images.dim());

    println!("cosine          {}", NAMES.map(|name| format!("{name:>9}")).concat());
    for (row, file) in FILES.iter().enumerate() {
        let cosine = |text| -> f32 { images.row(row).iter().zip(texts.row(text)).map(|(a, b)| a * b).sum() };
        let cosines = [0, 1, 2, 3].map(cosine);
        // CLIP's probabilities are the softmax of these cosines, times a scale that it was trained with.
        let logits = cosines.map(|cosine| clip.logit_scale() as f32 * cosine);
        let top = Logits::new(logits.to_vec(), NAMES.len())?.top(1, &NAMES);
        let cosines = cosines.map(|cosine| format!("{cosine:>9.3}")).concat();
        println!("{file:16}{cosines}   {:.0} % {}", 100.0 * top[0][0].probability, top[0][0].name);
    }
    Ok(())
}

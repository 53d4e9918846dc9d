//! Shows how an adapter is saved, and opened again to name an image: training and use are two programs.

use clip_adapter::prelude::*;

const POCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");

fn main() -> Result<()> {
    let device = Device::flex();
    let file = std::env::temp_dir().join("icons.adapter.safetensors");

    // The one program: what it learns is a small file, without CLIP's own weights.
    let clip = ClipBackbone::from_pretrained(format!("{POCKET}/model"), &device)?;
    let icons = ImageFolder::open(format!("{POCKET}/images/icon-line"))?;
    let prompts = Prompts::read(format!("{POCKET}/prompts.txt"))?;
    let classes = clip.text_classifier(icons.class_names(), &prompts)?;
    let shots = clip.extract().run(&icons)?.labelled()?.shots(16, 1)?;
    ClipAdapter::default().fit(&shots, &classes, &device)?.save(&file)?;

    // The other: the file knows its method and its classes, and refuses any other CLIP.
    let predictor = Predictor::open(format!("{POCKET}/model"), &file, &device)?;
    let (kind, count) = (predictor.model().kind(), predictor.class_names().len());
    println!("{kind} of {count} classes, from {}", file.display());
    for label in predictor.predict(&format!("{POCKET}/images/icon-colour/food/apple.png"), 3)? {
        println!("{:>5.1} % {}", 100.0 * label.probability, label.name);
    }
    Ok(())
}

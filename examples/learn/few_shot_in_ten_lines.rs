//! Shows what CLIP-Adapter learns from 16 icons of each class, scored on all others, beside CLIP without it.

use clip_adapter::prelude::*;

const POCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");

fn main() -> Result<()> {
    let clip = ClipBackbone::from_pretrained(format!("{POCKET}/model"), &Device::flex())?;
    let icons = ImageFolder::open(format!("{POCKET}/images/icon-line"))?; // one sub-folder a class
    let prompts = Prompts::read(format!("{POCKET}/prompts.txt"))?; // such as `an icon of a {}`
    let classes = clip.text_classifier(icons.class_names(), &prompts)?;
    let all = clip.extract().run(&icons)?.labelled()?; // the only time that CLIP sees an image
    let (shots, test) = all.split(16, 1)?;
    println!("zero-shot {}", ZeroShot::default().fit(&shots, &classes, clip.device())?.evaluate(&test)?);
    println!("adapted   {}", ClipAdapter::default().fit(&shots, &classes, clip.device())?.evaluate(&test)?);
    Ok(())
}

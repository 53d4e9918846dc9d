//! Shows how an image is named that is bytes in memory, and what a program answers where they are no image.

use clip_adapter::prelude::*;

const POCKET: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket");

fn main() -> Result<()> {
    let device = Device::flex();
    let clip = ClipBackbone::from_pretrained(format!("{POCKET}/model"), &device)?;
    let icons = ImageFolder::open(format!("{POCKET}/images/icon-line"))?;
    let prompts = Prompts::read(format!("{POCKET}/prompts.txt"))?;
    let classes = clip.text_classifier(icons.class_names(), &prompts)?;
    let shots = clip.extract().run(&icons)?.labelled()?.shots(16, 1)?;
    let model = AutoAdapter::default().fit(&shots, &classes, &device)?;
    let predictor = Predictor::new(clip, Box::new(model))?; // threads of a server can share it

    let path = format!("{POCKET}/images/icon-colour/vehicles/car.png");
    let whole = std::fs::read(&path).map_err(|error| Error::read(&path, error))?;
    for bytes in [&whole[..], &whole[..60], b"<html>sign in first</html>", b""] {
        match predictor.predict(&ImageBytes { name: "upload.png", bytes }, 1) {
            Ok(top) => println!("200: {:.0} % {}", 100.0 * top[0].probability, top[0].name),
            Err(error @ Error::Image { .. }) => println!("400: {error}"),
            Err(error) => println!("500: {error}"), // nothing that the sender could mend
        }
    }
    Ok(())
}

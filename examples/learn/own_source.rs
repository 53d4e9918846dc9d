//! Shows an `ImageSource` of one's own: labelled images that are no files, here drawn when CLIP asks for them.

use std::{borrow::Cow, io::Cursor, path::Path};

use clip_adapter::image::{ImageFormat, Rgb, RgbImage};
use clip_adapter::{input::ImageSource, prelude::*};

struct Swatches([String; 3]); // the names of the classes

impl ImageSource for Swatches {
    fn len(&self) -> usize {
        60
    }
    fn key(&self, index: usize) -> Cow<'_, Path> {
        Cow::Owned(format!("swatch {index}").into())
    }
    fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        let mut paint = [7 * (index / 3) as u8; 3]; // from strong to pale
        paint[index % 3] = 255;
        let mut png = Cursor::new(Vec::new());
        let written = RgbImage::from_pixel(64, 64, Rgb(paint)).write_to(&mut png, ImageFormat::Png);
        written.map(|()| png.into_inner()).map_err(|error| Error::image(self.key(index), error))
    }
    fn label(&self, index: usize) -> Option<usize> {
        Some(index % 3)
    }
    fn class_names(&self) -> &[String] {
        &self.0
    }
}

fn main() -> Result<()> {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket/model");
    let clip = ClipBackbone::from_pretrained(model, &Device::flex())?;
    let set = clip.extract().run(&Swatches(["red", "green", "blue"].map(String::from)))?.labelled()?;
    let classes = clip.text_classifier(set.class_names(), &Prompts::new(["a {} square"])?)?;
    let zero_shot = ZeroShot::default().fit(&set.shots(1, 1)?, &classes, clip.device())?; // learns nothing
    println!("{} numbers a swatch; zero-shot: {}", classes.dim(), zero_shot.evaluate(&set.into_test_set())?);
    Ok(())
}

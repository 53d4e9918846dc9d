//! EXIF orientation: off as in the reference, and on where asked for.

use std::fs;

use burn::tensor::Device;
use clip_adapter::{ClipBackbone, Error, input::Preprocess};
use image::{ImageFormat, RgbImage};

use crate::{
    backbone::golden,
    images::{encoded, exif, gradient, jpeg_with_exif, png_with_exif},
};

/// What the eight orientations show of a stored image, by EXIF 2.3, table 7.
fn shown(stored: &RgbImage, orientation: u8) -> RgbImage {
    let (w, h) = stored.dimensions();
    let turned = orientation >= 5;
    let (width, height) = if turned { (h, w) } else { (w, h) };
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = match orientation {
            1 => (x, y),
            2 => (w - 1 - x, y),
            3 => (w - 1 - x, h - 1 - y),
            4 => (x, h - 1 - y),
            5 => (y, x),
            6 => (y, h - 1 - x),
            7 => (w - 1 - y, h - 1 - x),
            _ => (w - 1 - y, x),
        };
        *stored.get_pixel(x, y)
    })
}

fn oriented() -> Preprocess {
    Preprocess { orient: true, ..Preprocess::default() }
}

#[test]
fn orientation_is_applied_only_where_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    let image = gradient(24, 16);
    for orientation in 1..=8 {
        for (format, bytes) in [
            ("png", png_with_exif(&image, &exif(orientation))),
            ("jpeg", jpeg_with_exif(&image, &exif(orientation))),
        ] {
            fs::write(&path, &bytes).unwrap();
            let stored = Preprocess::default().decode(&path).unwrap();
            assert_eq!(stored.dimensions(), (24, 16), "{format} {orientation}");
            if format == "png" {
                assert_eq!(stored, image, "{orientation}");
            }
            assert_eq!(
                oriented().decode(&path).unwrap(),
                shown(&stored, orientation),
                "{format} {orientation}"
            );
        }
    }
}

#[test]
fn damaged_or_absent_exif_data_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("photo");
    let image = gradient(24, 16);
    let far = [&exif(6)[..4], &[0xff; 4], &exif(6)[8..]].concat(); // entries beyond the end
    for exif in [exif(0), exif(9), exif(6)[..15].to_vec(), b"MM".to_vec(), far] {
        fs::write(&path, png_with_exif(&image, &exif)).unwrap();
        assert_eq!(oriented().decode(&path).unwrap(), image, "{exif:?}");
    }
    fs::write(&path, encoded(&image, ImageFormat::Bmp)).unwrap();
    assert_eq!(oriented().decode(&path).unwrap(), image);
    assert!(matches!(oriented().decode(&folder.path().join("absent")), Err(Error::Read { .. })));
}

#[test]
fn a_backbone_that_turns_images_has_an_identity_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (turned, upright) = (folder.path().join("turned.png"), folder.path().join("upright.png"));
    let image = gradient(90, 60);
    fs::write(&turned, png_with_exif(&image, &exif(6))).unwrap();
    fs::write(&upright, encoded(&shown(&image, 6), ImageFormat::Png)).unwrap();

    let plain = ClipBackbone::from_pretrained(golden("hf_sharded"), &Device::flex()).unwrap();
    let turning = plain.clone().with_exif_orientation();
    assert_eq!(turning.identity(), format!("{} oriented", plain.identity()));
    assert_eq!(turning.clone().with_exif_orientation().identity(), turning.identity());
    let expected = plain.encode_images(&[&upright]).unwrap();
    assert_eq!(turning.encode_images(&[&turned]).unwrap(), expected);
    assert_ne!(plain.encode_images(&[&turned]).unwrap(), expected);
}

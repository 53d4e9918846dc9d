//! Random views: what they may show, that a seed fixes them, and that they share the plain pipeline's pixels.

use std::{fs, path::PathBuf};

use burn::tensor::Device;
use clip_adapter::{
    Error,
    input::{Augment, Preprocess, View},
};
use image::{ImageFormat, imageops};
use proptest::prelude::*;

use crate::images::{encoded, gradient};

const SIDE: usize = 24;

fn preprocess() -> Preprocess {
    Preprocess { resize: SIDE, crop: SIDE, ..Preprocess::default() }
}

fn whole(width: u32, height: u32) -> View {
    View { left: 0, top: 0, width, height, flip: false }
}

fn is_inside(view: &View, (width, height): (u32, u32)) -> bool {
    let fits = |start: u32, length: u32, whole: u32| length >= 1 && start + length <= whole;
    fits(view.left, view.width, width) && fits(view.top, view.height, height)
}

/// Images whose own ratio is in range, so that even the crop taken after ten attempts obeys both ranges.
#[test]
fn ten_thousand_crops_keep_to_their_ranges() {
    let augment = Augment::default();
    let (mut flipped, mut smallest, mut largest) = (0, 1.0f64, 0.0f64);
    for draw in 0..10_000u64 {
        let (width, height) = [(640, 480), (500, 500), (480, 640), (333, 400)][draw as usize % 4];
        let view = augment.draw((width, height), 7, draw, draw % 10).unwrap();
        assert!(is_inside(&view, (width, height)), "{view:?}");
        let area = f64::from(view.width * view.height) / f64::from(width * height);
        let ratio = f64::from(view.width) / f64::from(view.height);
        // Sides are whole pixels, of some 300.
        assert!((0.495..=1.0).contains(&area), "{area} {view:?}");
        assert!((0.745..=1.345).contains(&ratio), "{ratio} {view:?}");
        (smallest, largest) = (smallest.min(area), largest.max(area));
        flipped += usize::from(view.flip);
    }
    assert!(smallest < 0.51 && largest > 0.98, "{smallest} {largest}");
    assert!((4800..=5200).contains(&flipped), "{flipped} of 10,000 is not half"); // four standard deviations
}

proptest! {
    #[test]
    fn a_crop_of_any_image_is_inside_it(
        width in 1u32..3000,
        height in 1u32..3000,
        low in 0.001f64..1.0,
        ratio in 0.1f64..10.0,
        seed: u64,
        image: u64,
        view: u64,
    ) {
        let augment = Augment { scale: [low, 1.0], ratio: [ratio, 1.5 * ratio], flip: 0.5 };
        let drawn = augment.draw((width, height), seed, image, view).unwrap();
        prop_assert!(is_inside(&drawn, (width, height)), "{drawn:?}");
        prop_assert_eq!(drawn, augment.draw((width, height), seed, image, view).unwrap());
    }
}

/// torchvision's way out after ten attempts that do not fit.
#[test]
fn a_strip_is_cropped_in_the_middle() {
    let draw = |size| View { flip: false, ..Augment::default().draw(size, 1, 0, 0).unwrap() };
    assert_eq!(draw((100, 1000)), View { left: 0, top: 433, width: 100, height: 133, flip: false });
    assert_eq!(draw((1000, 100)), View { left: 433, top: 0, width: 133, height: 100, flip: false });
    assert_eq!(draw((1, 1)), whole(1, 1));
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("a.png"), folder.path().join("b.png")];
    fs::write(&files[0], encoded(&gradient(60, 40), ImageFormat::Png)).unwrap();
    fs::write(&files[1], encoded(&gradient(40, 60), ImageFormat::Png)).unwrap();
    let load = |files: &[PathBuf], views: usize, seed: u64| {
        let tensor =
            preprocess().load_views(files, &Augment::default(), views, seed, &Device::flex()).unwrap();
        assert_eq!(tensor.dims(), [files.len() * views, 3, SIDE, SIDE]);
        tensor.try_to_vec_as::<f32>().unwrap()
    };
    let four = load(&files, 4, 1);
    assert_eq!(four, load(&files, 4, 1));
    assert_ne!(four, load(&files, 4, 2));
    // A view does not depend on how many others are drawn.
    let (size, two) = (3 * SIDE * SIDE, load(&files, 2, 1));
    assert_eq!(two[..2 * size], four[..2 * size]);
    assert_eq!(two[2 * size..], four[4 * size..6 * size]);
    assert_ne!(four[..size], four[size..2 * size]);
    assert_eq!(load(&files[..1], 4, 1)[..], four[..4 * size]);
}

#[test]
fn a_whole_view_is_the_plain_pipeline() {
    for side in [SIDE as u32, 50, 17] {
        let image = gradient(side, side);
        let plain = preprocess().pixels(&image).unwrap();
        assert_eq!(preprocess().view(&image, &whole(side, side)).unwrap(), plain, "{side}");
    }
}

#[test]
fn a_square_view_is_the_plain_pipeline_of_the_crop() {
    let image = gradient(80, 60);
    let view = View { left: 13, top: 5, width: 40, height: 40, flip: false };
    let crop = imageops::crop_imm(&image, 13, 5, 40, 40).to_image();
    assert_eq!(preprocess().view(&image, &view).unwrap(), preprocess().pixels(&crop).unwrap());
}

#[test]
fn a_flip_is_the_mirror_image() {
    let image = gradient(80, 60);
    let view = View { left: 3, top: 4, width: 50, height: 30, flip: false };
    let plain = preprocess().view(&image, &view).unwrap();
    let mirrored = preprocess().view(&image, &View { flip: true, ..view }).unwrap();
    assert_ne!(plain, mirrored);
    for (row, other) in plain.chunks(SIDE).zip(mirrored.chunks(SIDE)) {
        assert!(row.iter().eq(other.iter().rev()));
    }
    // Never and always.
    for (flip, expected) in [(0.0, false), (1.0, true)] {
        let augment = Augment { flip, ..Augment::default() };
        assert!((0..100).all(|view| augment.draw((80, 60), 1, 0, view).unwrap().flip == expected));
    }
}

#[test]
fn a_setting_or_view_out_of_range_is_one_typed_error() {
    let good = Augment::default();
    for (name, augment) in [
        ("scale", Augment { scale: [0.0, 1.0], ..good }),
        ("scale", Augment { scale: [0.5, 1.1], ..good }),
        ("scale", Augment { scale: [0.9, 0.5], ..good }),
        ("scale", Augment { scale: [f64::NAN, 1.0], ..good }),
        ("ratio", Augment { ratio: [-1.0, 1.0], ..good }),
        ("ratio", Augment { ratio: [1.0, f64::INFINITY], ..good }),
        ("flip", Augment { flip: 1.5, ..good }),
        ("flip", Augment { flip: f64::NAN, ..good }),
    ] {
        let error = augment.draw((10, 10), 0, 0, 0).unwrap_err();
        assert!(matches!(&error, Error::Setting { name: found, .. } if found == name), "{name}: {error}");
    }
    let image = gradient(10, 10);
    for view in
        [whole(11, 10), whole(0, 10), View { left: u32::MAX, ..whole(2, 2) }, View { top: 9, ..whole(2, 2) }]
    {
        assert!(matches!(preprocess().view(&image, &view), Err(Error::Data { .. })), "{view:?}");
    }
    let json = serde_json::json!({ "scale": [0.08, 1.0] });
    let augment: Augment = serde_json::from_value(json).unwrap();
    assert_eq!(augment, Augment { scale: [0.08, 1.0], ..good });
    assert!(serde_json::from_value::<Augment>(serde_json::json!({ "scales": 1 })).is_err());
}

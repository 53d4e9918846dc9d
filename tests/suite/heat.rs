//! Where in an image something speaks for a class: the numbers of the maps, and whether they find what was put somewhere.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use clip_adapter::{
    Classifier, ClipBackbone, Error, Prompts,
    explain::{HeatMap, Occlusion, patch_heat},
    features::Embeddings,
    image::{Rgb, RgbImage, imageops},
    input::ImageFolder,
    methods::FittedZeroShot,
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::backbone::golden;

fn pocket(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part)
}

fn clip() -> ClipBackbone {
    ClipBackbone::from_pretrained(pocket("model"), &Device::flex()).unwrap()
}

fn zero_shot(clip: &ClipBackbone, names: &[String]) -> FittedZeroShot {
    let prompts = Prompts::read(pocket("prompts.txt")).unwrap();
    FittedZeroShot::new(&clip.text_classifier(names, &prompts).unwrap(), clip.device())
}

/// The logit of a class less the largest other one, of each embedding.
fn margins(model: &FittedZeroShot, embeddings: Tensor<2>, class: usize) -> Vec<f64> {
    let dim = embeddings.dims()[1];
    let rows = Embeddings::new(embeddings.try_into_vec_as::<f32>().unwrap(), dim).unwrap();
    let logits = model.score(&rows).unwrap();
    let of = |row: &[f32]| {
        let others = row.iter().enumerate().filter(|(other, _)| *other != class);
        f64::from(row[class]) - others.map(|(_, &logit)| f64::from(logit)).fold(f64::NEG_INFINITY, f64::max)
    };
    logits.rows().map(of).collect()
}

/// A part of a map is what the model says of the patch, or loses where the part is covered.
#[test]
fn a_map_holds_what_its_formula_says() {
    let clip = clip();
    let model = zero_shot(&clip, &["car", "apple", "sun"].map(String::from));
    let car = pocket("images/icon-colour/vehicles/car.png");
    let preprocess = clip.preprocess();
    let side = preprocess.crop;
    let pixels = preprocess.pixels(&preprocess.decode(&car).unwrap()).unwrap();
    let tensor = |values: &[f32]| {
        let shape = [values.len() / (3 * side * side), 3, side, side];
        Tensor::<4>::from_data(TensorData::new(values.to_vec(), shape), clip.device())
    };

    let patches = clip.patch_embeddings(tensor(&pixels)).unwrap();
    let [_, count, dim] = patches.dims();
    assert_eq!((side, count), (48, 36)); // patches of 8 pixels
    for class in 0..3 {
        let heat = patch_heat(&clip, &model, &car, class).unwrap();
        assert_eq!((heat.side, heat.class, heat.values.len()), (6, class, 36));
        let expected = margins(&model, patches.clone().reshape([count, dim]), class);
        approx::assert_abs_diff_eq!(&heat.values[..], &expected[..], epsilon = 1e-4);
        let scaled = heat.scaled();
        assert_eq!(scaled.iter().copied().fold(f64::INFINITY, f64::min), 0.0);
        approx::assert_abs_diff_eq!(scaled.iter().copied().fold(0.0, f64::max), 1.0, epsilon = 1e-12);
    }

    // The first and the third row, as PyTorch and transformers' weights have them.
    let heat = patch_heat(&clip, &model, &car, 0).unwrap();
    let first = [-5.423, -1.292, -0.752, -0.401, 0.613, -4.816];
    let third = [2.213, 5.238, 3.187, 3.935, 5.987, 6.754];
    approx::assert_abs_diff_eq!(&heat.values[..6], &first[..], epsilon = 0.02);
    approx::assert_abs_diff_eq!(&heat.values[12..18], &third[..], epsilon = 0.02);

    // Quarters: the image, and without each of them, which the mean colour, 0, covers.
    let without = |quarters: &[usize]| -> Vec<f32> {
        let quarter = |at: usize| 2 * (at % (side * side) / side * 2 / side) + at % side * 2 / side;
        let kept = |(at, &value)| if quarters.contains(&quarter(at)) { 0.0 } else { value };
        pixels.iter().enumerate().map(kept).collect()
    };
    let lost = |covered: &[&[usize]]| -> Vec<f64> {
        let all = covered.iter().fold(pixels.clone(), |all, quarters| [all, without(quarters)].concat());
        let margins = margins(&model, clip.image_embeddings(tensor(&all)), 0);
        margins[1..].iter().map(|margin| margins[0] - margin).collect()
    };
    let single = lost(&[&[0], &[1], &[2], &[3]]);
    let heat = Occlusion { grid: 2, window: 1 }.map(&clip, &model, &car, 0).unwrap();
    assert_eq!(heat.side, 2);
    approx::assert_abs_diff_eq!(&heat.values[..], &single[..], epsilon = 1e-3);
    // A window of two parts covers the first quarter alone, with the one beside it, with the one below it, and with all.
    let pairs = lost(&[&[0, 1], &[0, 2], &[1, 3], &[2, 3], &[0, 1, 2, 3]]);
    let [upper, left, right, lower, all] = pairs[..] else { unreachable!() };
    let beside = [upper + left, upper + right, lower + left, lower + right];
    let expected: Vec<f64> = single.iter().zip(beside).map(|(one, two)| (one + two + all) / 4.0).collect();
    let heat = Occlusion { grid: 2, window: 2 }.map(&clip, &model, &car, 0).unwrap();
    approx::assert_abs_diff_eq!(&heat.values[..], &expected[..], epsilon = 1e-3);
}

#[test]
fn a_map_that_cannot_be_is_refused() {
    let clip = clip();
    let model = zero_shot(&clip, &["car", "apple"].map(String::from));
    let car = pocket("images/icon-colour/vehicles/car.png");
    for (grid, window) in [(1, 1), (49, 3), (7, 0), (7, 8)] {
        let refused = Occlusion { grid, window }.map(&clip, &model, &car, 0);
        assert!(matches!(refused, Err(Error::Setting { .. })), "{grid}, {window}");
    }
    let whole = Occlusion::default();
    assert!(matches!(whole.map(&clip, &model, &car, 2), Err(Error::Setting { .. })));
    assert!(matches!(patch_heat(&clip, &model, &car, 2), Err(Error::Setting { .. })));
    let nothing = pocket("nothing.png");
    assert!(matches!(whole.map(&clip, &model, &nothing, 0), Err(Error::Read { .. })));
    assert!(matches!(patch_heat(&clip, &model, &nothing, 0), Err(Error::Read { .. })));
    // A model of another backbone, and a tower without patches.
    let resnet = ClipBackbone::from_pretrained(golden("openclip_resnet"), &Device::flex()).unwrap();
    assert!(matches!(patch_heat(&resnet, &model, &car, 0), Err(Error::Unsupported { .. })));
    assert!(matches!(whole.map(&resnet, &model, &car, 0), Err(Error::Dim { .. })));
}

/// Four pictures of four classes, side by side, and their names.
fn tiles(folder: &ImageFolder, random: &mut ChaCha8Rng) -> (RgbImage, Vec<String>) {
    let mut classes: Vec<usize> = (0..folder.class_names().len()).collect();
    let (four, _) = classes.partial_shuffle(random, 4);
    let mut image = RgbImage::from_pixel(128, 128, Rgb([255; 3]));
    let mut names = Vec::new();
    for (at, &class) in four.iter().enumerate() {
        let of_class = (0..folder.labels().len()).filter(|&file| folder.labels()[file] == class);
        let of_class: Vec<usize> = of_class.collect();
        let file = &folder.files()[of_class[random.random_range(0..of_class.len())]];
        let picture = clip_adapter::image::open(file).unwrap().to_rgb8(); // 64 pixels a side
        imageops::replace(&mut image, &picture, 64 * (at as i64 % 2), 64 * (at as i64 / 2));
        names.push(file.file_stem().unwrap().to_str().unwrap().replace('-', " "));
    }
    (image, names)
}

/// How much of a map's mass, above its least, lies in each quarter.
fn quarters(heat: &HeatMap) -> [f64; 4] {
    let mut mass = [0.0; 4];
    for (at, value) in heat.scaled().into_iter().enumerate() {
        let (row, column) = (at / heat.side, at % heat.side);
        mass[2 * (2 * row / heat.side) + 2 * column / heat.side] += value;
    }
    let all: f64 = mass.iter().sum();
    mass.map(|of| of / all.max(1e-12))
}

/// Four things side by side, and the map of the name of each: the heaviest quarter has to be where it is. By chance it is
/// for one in four.
#[test]
fn a_map_of_a_name_lies_where_the_thing_is() {
    const IMAGES: usize = 48;
    let clip = clip();
    let folder = ImageFolder::open(pocket("images/fluent-3d")).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    // Of patches and of occlusion.
    let (mut right, mut mass) = ([0.0; 2], [0.0; 2]);
    for _ in 0..IMAGES {
        let (image, names) = tiles(&folder, &mut random);
        let model = zero_shot(&clip, &names);
        for class in 0..4 {
            let maps = [
                patch_heat(&clip, &model, &image, class).unwrap(),
                Occlusion { grid: 6, window: 3 }.map(&clip, &model, &image, class).unwrap(),
            ];
            for (at, map) in maps.iter().enumerate() {
                let found = quarters(map);
                right[at] += f64::from(found.iter().all(|other| *other <= found[class]));
                mass[at] += found[class];
            }
        }
    }
    for (at, name) in ["patches", "occlusion"].into_iter().enumerate() {
        let of_all = |sum: f64| 100.0 * sum / (4 * IMAGES) as f64;
        let (right, mass) = (of_all(right[at]), of_all(mass[at]));
        println!(
            "{name}: {right:.1} % of the maps are heaviest where the thing is, with {mass:.1} % of their mass"
        );
        assert!(right >= 40.0 && mass >= 27.0, "{name}: {right:.1}, {mass:.1}");
    }
}

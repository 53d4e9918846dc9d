//! Choosing and steering generated images, on real features and through the pocket CLIP's towers.

use burn::tensor::{Device, Tensor};
use clip_adapter::{
    ClipAdapter, ClipBackbone, Error, FeatureFile, FeatureSet, Method, Prompts, Run, Support, ZeroShot,
    backbone::TrainableClip,
    features::Embeddings,
    methods::Ratio,
    model::{Classifier, Save},
    tasks::generation::{
        Chooser, FittedMlpPrior, FittedPrior, Head, LinearHead, MlpPrior, Pair, Preference, PreferenceHead,
        Prior, climb, dpp, mmr, pixel_slopes, slopes,
    },
    tasks::recommendation::Catalogue,
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    commands::{failure_in, json, run_in},
    shared,
};

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// Percent of draws in which the right picture comes first among eight, of which seven are of the five most similar classes.
fn best_of_eight(file: &FeatureFile, seed: u64) -> [f64; 2] {
    const DRAWS: usize = 1000;
    let classes = file.classifier();
    let adapter = ClipAdapter { ratio: Ratio::Fixed(0.6), seed, ..ClipAdapter::default() };
    let model = adapter.fit(&file.support(4, seed).unwrap(), classes, &Device::flex()).unwrap();
    let pools = ["val", "test"].map(|split| file.split(split).unwrap());
    let images: Vec<f32> = pools.iter().flat_map(|pool| pool.embeddings().values()).copied().collect();
    let labels: Vec<usize> = pools.iter().flat_map(|pool| pool.labels()).copied().collect();
    let images = Embeddings::new(images, classes.dim()).unwrap();
    let weights = classes.weights();
    let similar = |class: usize| -> Vec<usize> {
        let mut others: Vec<usize> = (0..weights.rows()).filter(|&other| other != class).collect();
        let near = |other: usize| cosine(weights.row(class), weights.row(other));
        others.sort_by(|&a, &b| near(b).total_cmp(&near(a)));
        others.truncate(5);
        others
    };
    let similar: Vec<Vec<usize>> = (0..weights.rows()).map(similar).collect();
    let of = |wanted: &[usize]| -> Vec<usize> {
        (0..labels.len()).filter(|&row| wanted.contains(&labels[row])).collect()
    };
    let (right, wrong): (Vec<_>, Vec<_>) =
        (0..weights.rows()).map(|class| (of(&[class]), of(&similar[class]))).unzip();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut found = [0.0; 2];
    for _ in 0..DRAWS {
        let class = random.random_range(0..weights.rows());
        let mut wrong = wrong[class].clone();
        wrong.shuffle(&mut random);
        wrong.truncate(7);
        wrong.push(right[class][random.random_range(0..right[class].len())]);
        let candidates = images.select(&wrong);
        let choosers = [Chooser::zero_shot(classes, class).unwrap(), Chooser::new(&model, class).unwrap()];
        for (found, chooser) in found.iter_mut().zip(&choosers) {
            let best = chooser.rank(&candidates).unwrap()[0].index;
            *found += if best == 7 { 100.0 / DRAWS as f64 } else { 0.0 };
        }
    }
    found
}

#[test]
fn the_adapted_score_finds_the_right_picture_of_eight() {
    const NAME: &str = "the_adapted_score_finds_the_right_picture_of_eight";
    for (dataset, expected) in [("whurs19_vitb32", 97.6), ("whurs19_rn50", 96.1)] {
        let Some(file) = shared::features(NAME, dataset) else { return };
        let mut mean = [0.0; 2];
        for seed in 1..=3 {
            let found = best_of_eight(&file, seed);
            mean.iter_mut().zip(found).for_each(|(mean, found)| *mean += found / 3.0);
        }
        println!("{dataset}: best of 8 by zero-shot {:.1} %, by the adapted score {:.1} %", mean[0], mean[1]);
        assert!((mean[1] - expected).abs() <= 1.5 && mean[1] > mean[0], "{dataset}: {mean:?}");
    }
}

/// The ratings that LAION published with its heads: one embedding for each of 0 to 9.
#[test]
fn public_aesthetic_heads_give_the_published_ratings() {
    const NAME: &str = "public_aesthetic_heads_give_the_published_ratings";
    let Some(folder) = shared::folder(NAME) else { return };
    let path = folder.join("data/aesthetic/laion_v1.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ratings = |name: &str| {
        let rows = tensors.tensor(name).unwrap();
        let values = match rows.dtype() {
            safetensors::Dtype::F32 => {
                rows.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            _ => {
                rows.data().chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
            }
        };
        Embeddings::new(values, rows.shape()[1]).unwrap()
    };
    let head = LinearHead::read(&path, "v1.vit_b_32").unwrap();
    let scores = head.scores(&ratings("ratings.vit_b_32")).unwrap();
    let expected = [-1.47, 0.27, 1.99, 3.61, 5.09, 6.39, 7.67, 8.92, 9.92, 11.01];
    approx::assert_abs_diff_eq!(&scores[..], &expected[..], epsilon = 0.006);
    let head = LinearHead::read(&path, "v1.vit_l_14").unwrap();
    let scores = head.scores(&ratings("ratings.vit_l_14")).unwrap();
    approx::assert_abs_diff_eq!([scores[0], scores[9]][..], [-2.46, 11.30][..], epsilon = 0.006);
    let error = LinearHead::read(&path, "v1.vit_h_14").unwrap_err().to_string();
    assert!(error.contains("v1.vit_b_16") && error.contains("found `v1.vit_h_14`"), "{error}");
}

/// A head that was trained on human ratings stands for the human: choices are drawn with `sigmoid(2 (s_i - s_j))`, and
/// held-out photographs are compared without noise.
#[test]
fn pairs_teach_a_taste() {
    const NAME: &str = "pairs_teach_a_taste";
    const COUNTS: [usize; 5] = [10, 30, 100, 300, 1000];
    let Some(folder) = shared::folder(NAME) else { return };
    let catalogue = Catalogue::read(folder.join("data/sun397_vitb32.safetensors")).unwrap();
    let path = folder.join("data/aesthetic/laion_v1.safetensors");
    let scores = LinearHead::read(path, "v1.vit_b_32").unwrap().scores(catalogue.features()).unwrap();
    let mut accuracy = [0.0; COUNTS.len()];
    const SEEDS: u64 = 48;
    for seed in 1..=SEEDS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..catalogue.len()).collect();
        order.shuffle(&mut random);
        let (seen, held_out) = order.split_at(3 * order.len() / 4);
        let images = catalogue.features().select(seen);
        let pairs: Vec<Pair> = (0..1000)
            .map(|_| {
                let (a, b) = (random.random_range(0..seen.len()), random.random_range(0..seen.len() - 1));
                let b = if b < a { b } else { b + 1 };
                let apart = 2.0 * f64::from(scores[seen[a]] - scores[seen[b]]);
                if random.random_bool(1.0 / (1.0 + (-apart).exp())) {
                    Pair::won(a, b)
                } else {
                    Pair::won(b, a)
                }
            })
            .collect();
        for (accuracy, count) in accuracy.iter_mut().zip(COUNTS) {
            let head = Preference::default().fit(&images, &pairs[..count], None, "ViT-B/32").unwrap();
            let found = head.scores(&catalogue.features().select(held_out)).unwrap();
            let right = (0..20_000).filter(|_| {
                let (a, b) = (random.random_range(0..found.len()), random.random_range(0..found.len()));
                (found[a] > found[b]) == (scores[held_out[a]] > scores[held_out[b]])
            });
            *accuracy += right.count() as f64 / 200.0 / SEEDS as f64;
        }
    }
    println!("accuracy on pairs at 10, 30, 100, 300 and 1,000 pairs: {accuracy:.1?}");
    assert!(accuracy[2] >= 66.0 && accuracy[4] >= 80.0, "{accuracy:?}");
}

fn pictures() -> (FeatureSet, String) {
    let file = FeatureFile::synthetic(0).unwrap();
    (file.split("train").unwrap().clone(), file.classifier().backbone().to_owned())
}

#[test]
fn ties_pull_together_and_a_start_is_where_nothing_was_asked() {
    let (photos, backbone) = pictures();
    let images = photos.embeddings();
    let fit = |pairs: &[Pair], start: Option<(&LinearHead, f64)>| {
        Preference::default().fit(images, pairs, start, &backbone).unwrap()
    };
    let won = fit(&[Pair::won(0, 40)], None).scores(images).unwrap();
    let both = fit(&[Pair::won(0, 40), Pair::tied(0, 40)], None).scores(images).unwrap();
    assert!(won[0] - won[40] > both[0] - both[40] && both[0] > both[40]);
    let even = fit(&[Pair::tied(0, 40)], None).scores(images).unwrap();
    assert!(even.iter().all(|score| score.abs() < 1e-6), "a tie alone teaches nothing");
    let swapped = fit(&[Pair::tied(40, 0), Pair::won(0, 40)], None).scores(images).unwrap();
    approx::assert_abs_diff_eq!(&swapped[..], &both[..], epsilon = 1e-5);

    let start = LinearHead::new((0..64).map(|at| (at as f32).sin()).collect(), 9.0).unwrap();
    let known = fit(&[], Some((&start, 2.0))).scores(images).unwrap();
    let plain = start.scores(images).unwrap();
    approx::assert_abs_diff_eq!(known[3] - known[50], 2.0 * (plain[3] - plain[50]), epsilon = 1e-4);

    let narrow = LinearHead::new(vec![1.0], 0.0).unwrap();
    let error = Preference::default().fit(images, &[], Some((&narrow, 1.0)), &backbone).unwrap_err();
    assert!(matches!(error, Error::Dim { expected: 64, found: 1, .. }));
    for pair in [Pair::won(3, 3), Pair::won(0, 9999)] {
        let error = Preference::default().fit(images, &[pair], None, &backbone).unwrap_err();
        assert!(matches!(&error, Error::Data { what, .. } if what == "pair"), "{error}");
    }
    let error = Preference { lambda: 0.0 }.fit(images, &[], None, &backbone).unwrap_err();
    assert!(matches!(error, Error::Setting { .. }));
}

#[test]
fn a_chosen_question_is_never_asked_twice() {
    let (photos, backbone) = pictures();
    let images = photos.embeddings().select(&(0..40).collect::<Vec<_>>());
    let preference = Preference::default();
    let mut pairs = Vec::new();
    for question in 0..15 {
        let head = preference.fit(&images, &pairs, None, &backbone).unwrap();
        let (a, b) = preference.next_pair(&images, &pairs, &head, question).unwrap().unwrap();
        assert!(
            !pairs
                .iter()
                .any(|pair: &Pair| (pair.winner.min(pair.loser), pair.winner.max(pair.loser)) == (a, b))
        );
        pairs.push(if images.row(a)[0] > images.row(b)[0] { Pair::won(a, b) } else { Pair::won(b, a) });
    }
    let two = images.select(&[0, 1]);
    let head = preference.fit(&two, &[Pair::won(0, 1)], None, &backbone).unwrap();
    assert_eq!(preference.next_pair(&two, &[Pair::won(0, 1)], &head, 1).unwrap(), None);
    let one = images.select(&[0]);
    let head = preference.fit(&one, &[], None, &backbone).unwrap();
    assert_eq!(preference.next_pair(&one, &[], &head, 1).unwrap(), None);
}

#[test]
fn saved_heads_and_priors_give_the_same_bits() {
    let (photos, backbone) = pictures();
    let images = photos.embeddings();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("head.safetensors");
    let head =
        Preference::default().fit(images, &[Pair::won(3, 60), Pair::tied(4, 5)], None, &backbone).unwrap();
    head.save(&path).unwrap();
    let same = PreferenceHead::open(&path, &backbone).unwrap();
    assert_eq!(same.scores(images).unwrap(), head.scores(images).unwrap());
    assert!(matches!(PreferenceHead::open(&path, "another"), Err(Error::Fingerprint { .. })));
    assert!(matches!(FittedPrior::open(&path, &backbone), Err(Error::Malformed { .. })));

    let texts = FeatureFile::synthetic(0).unwrap().classifier().weights().select(photos.labels());
    let with_pairs = Prior::default().fit(&texts, images, &backbone).unwrap();
    for prior in [with_pairs, Prior::shift(&texts, images, &backbone).unwrap()] {
        prior.save(&path).unwrap();
        let same = FittedPrior::open(&path, &backbone).unwrap();
        assert_eq!(same.predict(&texts).unwrap(), prior.predict(&texts).unwrap());
        assert_eq!(same.length(), prior.length());
    }
    let (settings, device) = (MlpPrior { hidden: 7, epochs: 2, ..MlpPrior::default() }, Device::flex());
    let prior = settings.fit(&texts, images, &backbone, &mut Run::new(&device)).unwrap();
    assert!(matches!(FittedMlpPrior::open(&path, &backbone, &device), Err(Error::Malformed { .. })));
    prior.save(&path).unwrap();
    let same = FittedMlpPrior::open(&path, &backbone, &device).unwrap();
    assert_eq!(same.predict(&texts).unwrap(), prior.predict(&texts).unwrap());
    assert_eq!((same.length(), same.backbone()), (prior.length(), &*backbone));
    let other = FittedMlpPrior::open(&path, "another", &device);
    assert!(matches!(other, Err(Error::Fingerprint { .. })));
    let bytes = std::fs::read(&path).unwrap();
    let narrow = String::from_utf8_lossy(&bytes).contains("\\\"hidden\\\":7");
    assert!(narrow, "the file has its settings");
    let wide = bytes.windows(10).position(|bytes| bytes == b"hidden\\\":7").unwrap();
    let mut bytes = bytes;
    bytes[wide + 9] = b'8';
    std::fs::write(&path, bytes).unwrap();
    let error = FittedMlpPrior::open(&path, &backbone, &device).unwrap_err();
    assert!(matches!(&error, Error::Malformed { .. }), "{error}");
}

/// Class texts to the mean of two images, 800 classes of ImageNet to learn from and 200 others: cosine to the true mean,
/// and how often the image of a text is the nearest of 200.
#[test]
fn a_prior_comes_near_the_images_of_classes_it_never_saw() {
    const NAME: &str = "a_prior_comes_near_the_images_of_classes_it_never_saw";
    const SEEDS: u64 = 3;
    let Some(file) = shared::features(NAME, "imagenet_base_vitb32") else { return };
    let train = file.split("train").unwrap();
    let unit = train.embeddings().normalised();
    let classes = file.classifier().class_names().len();
    let mut means = vec![0.0; classes * unit.dim()];
    for (row, &label) in train.labels().iter().enumerate() {
        means[label * unit.dim()..].iter_mut().zip(unit.row(row)).for_each(|(mean, value)| *mean += value);
    }
    let images = Embeddings::new(means, unit.dim()).unwrap().normalised();
    let texts = file.classifier().weights();
    let names = ["text as it is", "shift of the means", "closed form", "MLP"];
    let mut table = [[0.0; 2]; 4];
    for seed in 1..=SEEDS {
        let mut order: Vec<usize> = (0..classes).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let (learned, unseen) = order.split_at(800);
        let (t, m) = (texts.select(learned), images.select(learned));
        let (asked, truth) = (texts.select(unseen), images.select(unseen));
        let mut run = Run::new(&Device::flex());
        let mlp = MlpPrior { seed, ..MlpPrior::default() }.fit(&t, &m, "ViT-B/32", &mut run).unwrap();
        let predicted = [
            asked.clone(),
            Prior::shift(&t, &m, "ViT-B/32").unwrap().predict(&asked).unwrap(),
            Prior::default().fit(&t, &m, "ViT-B/32").unwrap().predict(&asked).unwrap(),
            mlp.predict(&asked).unwrap(),
        ];
        for (sums, predicted) in table.iter_mut().zip(&predicted) {
            for row in 0..200 {
                let near = |other: usize| cosine(predicted.row(row), truth.row(other));
                let first = (0..200).max_by(|&a, &b| near(a).total_cmp(&near(b))).unwrap();
                sums[0] += near(row) / 200.0 / SEEDS as f64;
                sums[1] += if first == row { 0.5 } else { 0.0 } / SEEDS as f64;
            }
        }
    }
    for (name, [cosine, first]) in names.iter().zip(&table) {
        println!("{name:18} cosine {cosine:.3}, R@1 {first:.1} %");
    }
    assert!(table[2][0] >= 0.855 && table[3][0] >= 0.80, "{table:?}");
    assert!(table[0][1] > table[2][1] + 20.0, "a prior is not to rank with");
}

/// Eight of a hundred candidates from ten scenes, by LAION's head.
#[test]
fn diverse_choices_cover_more_scenes() {
    const NAME: &str = "diverse_choices_cover_more_scenes";
    const DRAWS: u64 = 300;
    let Some(folder) = shared::folder(NAME) else { return };
    let catalogue = Catalogue::read(folder.join("data/sun397_vitb32.safetensors")).unwrap();
    let path = folder.join("data/aesthetic/laion_v1.safetensors");
    let scores = LinearHead::read(path, "v1.vit_b_32").unwrap().scores(catalogue.features()).unwrap();
    let mut table = [[0.0; 2]; 4];
    for draw in 0..DRAWS {
        let mut scenes: Vec<usize> = (0..397).collect();
        scenes.shuffle(&mut ChaCha8Rng::seed_from_u64(draw));
        // Ten photographs of each scene, one scene after the other.
        let rows: Vec<usize> = scenes[..10].iter().flat_map(|scene| scene * 10..scene * 10 + 10).collect();
        let images = catalogue.features().select(&rows);
        let quality: Vec<f32> = rows.iter().map(|&row| scores[row]).collect();
        let mean = quality.iter().sum::<f32>() / 100.0;
        let spread = (quality.iter().map(|q| (q - mean).powi(2)).sum::<f32>() / 100.0).sqrt();
        let chosen = [
            mmr(&quality, &images, 8, 1.0).unwrap(),
            mmr(&quality, &images, 8, 0.7).unwrap(),
            mmr(&quality, &images, 8, 0.5).unwrap(),
            dpp(&quality, &images, 8).unwrap(),
        ];
        for (sums, chosen) in table.iter_mut().zip(&chosen) {
            let mut seen: Vec<usize> = chosen.iter().map(|row| row / 10).collect();
            seen.sort_unstable();
            seen.dedup();
            sums[0] += seen.len() as f64 / DRAWS as f64;
            let quality = chosen.iter().map(|&row| (quality[row] - mean) / spread).sum::<f32>() / 8.0;
            sums[1] += f64::from(quality) / DRAWS as f64;
        }
    }
    println!("scenes and quality of the top 8, MMR 0.7, MMR 0.5 and DPP: {table:.2?}");
    for (found, expected) in table.iter().zip([4.27, 5.20, 6.10, 5.43]) {
        assert!((found[0] - expected).abs() <= 0.3, "{table:?}");
    }
}

/// `(s(f + e d) - s(f - e d)) / 2e` along the slope itself and along random directions `d`.
#[test]
fn slopes_of_an_embedding_are_central_differences() {
    let (file, device) = (FeatureFile::synthetic(0).unwrap(), Device::flex());
    let adapter = ClipAdapter { ratio: Ratio::Fixed(0.6), ..ClipAdapter::default() };
    let model = adapter.fit(&file.support(4, 1).unwrap(), file.classifier(), &device).unwrap();
    let test = file.split("test").unwrap();
    for row in [0, 30, 77] {
        let class = (test.labels()[row] + 1) % file.classifier().class_names().len();
        let image = test.embeddings().select(&[row]);
        let slope = slopes(&model, image.tensor(&device), class).unwrap().values;
        assert!(!slope.is_autodiff());
        let slope = slope.try_into_vec_as::<f32>().unwrap();
        let length = cosine(&slope, &slope).sqrt();
        let along: Vec<f32> = slope.iter().map(|value| value / length as f32).collect();
        let score = |by: f32| {
            let moved = image.values().iter().zip(&along).map(|(value, along)| value + by * along).collect();
            let moved = Embeddings::new(moved, 64).unwrap();
            let score = slopes(&model, moved.tensor(&device), class).unwrap().scores[0];
            f64::from(score)
        };
        let differences = (score(1e-3) - score(-1e-3)) / 2e-3;
        assert!((differences - length).abs() < 1e-3 * length, "row {row}: {differences} {length}");
    }
    let wide = Tensor::ones([1, 3], &device);
    assert!(matches!(slopes(&model, wide, 0), Err(Error::Dim { .. })));
    let image = test.embeddings().tensor(&device);
    assert!(matches!(slopes(&model, image, 99), Err(Error::Data { .. })));
}

#[test]
fn climbing_turns_an_embedding_to_the_class() {
    let (file, device) = (FeatureFile::synthetic(0).unwrap(), Device::flex());
    let model = ClipAdapter::default().fit(&file.support(4, 1).unwrap(), file.classifier(), &device).unwrap();
    let test = file.split("test").unwrap();
    let images = test.embeddings().select(&[0, 5, 9]);
    let class = (test.labels()[0] + 1) % file.classifier().class_names().len();
    let steered = climb(&model, &images, class, 0.1, 25).unwrap();
    assert!(model.score(&steered).unwrap().predictions().all(|found| found == class));
    assert!(matches!(climb(&model, &images, class, 0.0, 1), Err(Error::Setting { .. })));
}

/// Through the pocket CLIP's image tower, along the slope.
#[test]
fn slopes_of_pixels_are_central_differences() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket/");
    let (model_folder, device) = (format!("{folder}model"), Device::flex());
    let picture = format!("{folder}images/icon-colour/vehicles/car.png");
    let clip = ClipBackbone::from_pretrained(&model_folder, &device).unwrap();
    let classes = clip.text_classifier(&["apple", "car"], &Prompts::default()).unwrap();
    let set = FeatureSet::new(clip.encode_images(&[&picture]).unwrap(), vec![1], ["apple", "car"]).unwrap();
    let model = ZeroShot::default().fit(&Support::new(set).unwrap(), &classes, &device).unwrap();
    let tower = TrainableClip::from_pretrained(&model_folder, &device).unwrap();
    let pixels = clip.preprocess().load(&[&picture], &device).unwrap();
    let slopes =
        |pixels: Tensor<4>| pixel_slopes(&model, |pixels| tower.image_embeddings(pixels), pixels, 0).unwrap();
    let here = slopes(pixels.clone());
    let length = here.values.clone().powi_scalar(2).sum().sqrt().into_scalar::<f32>();
    let along = here.values.mul_scalar(1.0 / length);
    let score = |by: f32| f64::from(slopes(pixels.clone() + along.clone().mul_scalar(by)).scores[0]);
    let (differences, length) = ((score(2e-2) - score(-2e-2)) / 4e-2, f64::from(length));
    println!("slope of the score in pixels: {length}, by differences {differences}");
    assert!((differences - length).abs() < 1e-2 * length, "{differences} {length}");
    // The frozen backbone says the same of the picture.
    let logits = model.score(&clip.encode_images(&[&picture]).unwrap()).unwrap();
    let row = logits.rows().next().unwrap();
    let expected = -(row[1] - row[0]).exp().ln_1p();
    assert!((here.scores[0] - expected).abs() < 1e-2, "{} {expected}", here.scores[0]);
}

/// The command on the pocket model and its icons of one kind.
#[test]
fn choose_ranks_and_says_why() {
    let pocket = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket/images/icon-colour");
    let folder = tempfile::tempdir().unwrap();
    let icons = folder.path().join("icons");
    std::fs::create_dir(&icons).unwrap();
    for kind in ["food", "vehicles", "math"] {
        let all = std::fs::read_dir(format!("{pocket}/{kind}")).unwrap();
        let mut all: Vec<_> = all.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        for icon in all.iter().take(6) {
            let name = format!("{kind}-{}", icon.file_name().unwrap().to_str().unwrap());
            std::fs::copy(icon, icons.join(name)).unwrap();
        }
    }
    std::fs::write(icons.join("broken.png"), b"no picture").unwrap();
    let all: Vec<String> = std::fs::read_dir(&icons)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "broken.png")
        .collect();
    // A person who likes food and wants nothing to do with mathematics.
    let of = |kind: &str| all.iter().filter(|name| name.starts_with(kind)).cloned().collect::<Vec<_>>();
    let (food, math) = (of("food"), of("math"));
    let rows: String = food.iter().zip(&math).map(|(food, math)| format!("{food},{math},0\n")).collect();
    std::fs::write(folder.path().join("pairs.csv"), format!("winner,loser,tie\n{rows}")).unwrap();
    let said = run_in(
        folder.path(),
        "choose",
        &[
            "--images",
            "icons",
            "--prompt",
            "an icon of a car",
            "--pairs",
            "pairs.csv",
            "--taste",
            "4",
            "--keep",
            "3",
            "--diverse",
            "dpp",
            "--steer",
            "steered.png",
            "--steps",
            "8",
            "--json",
            "out.json",
            "--html",
            "page.html",
            "--save",
            "head.safetensors",
        ],
    );
    assert!(said.contains("18 candidates for `an icon of a car`"), "{said}");
    let out = json(&folder.path().join("out.json"));
    let ranking = out["ranking"].as_array().unwrap();
    assert_eq!((ranking.len(), &out["pairs"], &out["ties"]), (18, &6.into(), &0.into()));
    assert!(out["left_out"][0].as_str().unwrap().contains("broken.png"));
    for choice in ranking {
        let parts = choice["parts"].as_object().unwrap();
        let sum: f64 = parts.values().map(|part| part.as_f64().unwrap()).sum();
        assert!((sum - choice["score"].as_f64().unwrap()).abs() < 1e-9);
        assert!((0.0..=100.0).contains(&choice["probability"].as_f64().unwrap()));
    }
    let taste = |kind: &str| -> f64 {
        let of = ranking.iter().filter(|choice| choice["image"].as_str().unwrap().starts_with(kind));
        of.map(|choice| choice["parts"]["taste"].as_f64().unwrap()).sum()
    };
    assert!(taste("food") > 4.0 && taste("math") < -4.0);
    assert_eq!(out["kept"].as_array().unwrap().len(), 3);
    let scores: Vec<f64> =
        out["steered"]["scores"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    println!("steering: {:.2} to {:.2}", scores[0], scores[8]);
    assert!(scores.len() == 9 && scores[8] > scores[0] + 1.0, "{scores:?}");
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("Steered towards the prompt") && page.contains("data:image/png;base64,"));
    assert!(image::open(folder.path().join("steered.png")).is_ok());
    assert!(folder.path().join("head.safetensors").is_file());
}

#[test]
fn what_choose_cannot_do_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let icons = folder.path().join("icons");
    std::fs::create_dir(&icons).unwrap();
    let icon = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/pocket/images/icon-colour/food/apple.png");
    std::fs::copy(icon, icons.join("apple.png")).unwrap();
    std::fs::write(folder.path().join("pairs.csv"), "winner,loser\napple.png,pear.png\n").unwrap();
    std::fs::write(folder.path().join("same.txt"), "an apple\n").unwrap();
    let with = |more: &[&'static str]| [&["--images", "icons", "--prompt", "an apple"], more].concat();
    for (arguments, sentence) in [
        (vec!["--prompt", "a", "--images", "absent"], "absent"),
        (with(&["--pairs", "pairs.csv"]), "line 2: loser: expected one of the candidates, found `pear.png`"),
        (with(&["--distractors", "same.txt"]), "distractors: expected at least one that is not the prompt"),
        (with(&["--aesthetic", "head"]), "setting `aesthetic`: expected FILE:NAME, found `head`"),
        (with(&["--aesthetic", "absent:v1"]), "cannot read absent"),
        (with(&["--taste", "NaN", "--pairs", "absent.csv"]), "cannot read absent.csv"),
        (with(&["--keep", "2", "--diverse", "magic"]), "invalid value 'magic'"),
    ] {
        let message = failure_in(folder.path(), "choose", &arguments);
        assert!(message.contains(sentence), "{arguments:?}: {message}");
    }
}

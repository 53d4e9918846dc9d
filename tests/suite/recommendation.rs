//! Recommendation: simulated users on real photographs, and what a model does with what came later. The figures of real
//! users, who have no pictures, are those of `.ci/movielens`.

use burn::tensor::Device;
use clip_adapter::{
    Error, FeatureFile, Run,
    features::Embeddings,
    model::Save,
    tasks::{
        generation::{Head, LinearHead},
        recommendation::{
            Bpr, Catalogue, FittedTower, Histories, HistoryMean, Popularity, Random, Recommender, Tower,
            evaluate,
        },
    },
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::{
    commands::{failure_in, json, run_in, text},
    shared,
    taste::components,
};

const USERS: usize = 800;
const CHOICES: usize = 20;

/// Users who are made up, on photographs that are real.
struct Simulated {
    histories: Histories,
    warm: Vec<Option<usize>>,
    cold: Vec<Option<usize>>,
    cold_items: Vec<usize>,
    warm_items: Vec<usize>,
}

/// Each user likes a sparse direction of 24 principal components, 5 to 28, and what LAION's head does, by chance sees some
/// photographs more than others, and chooses the 21 best; the last of these in a random order is to be found, and the best
/// of the fifth of all photographs that nobody could choose.
fn simulate(catalogue: &Catalogue, aesthetic: &[f32], seed: u64) -> Simulated {
    let parts = components(catalogue.features());
    let items = catalogue.len();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..items).collect();
    order.shuffle(&mut random);
    let (cold_items, warm_items) = (order[..items / 5].to_vec(), order[items / 5..].to_vec());
    let mean = aesthetic.iter().sum::<f32>() / items as f32;
    let spread = (aesthetic.iter().map(|a| (a - mean).powi(2)).sum::<f32>() / items as f32).sqrt();
    let normal = |random: &mut ChaCha8Rng| (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0;
    let seen: Vec<f64> = (0..items).map(|_| normal(&mut random)).collect();
    let (mut of, mut warm, mut cold) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..USERS {
        let mut axes: Vec<usize> = (0..24).collect();
        axes.shuffle(&mut random);
        let liked: Vec<(usize, f64)> = axes[..6].iter().map(|&axis| (axis, normal(&mut random))).collect();
        let length = liked.iter().map(|(_, weight)| weight * weight).sum::<f64>().sqrt();
        let score = |item: usize, random: &mut ChaCha8Rng| {
            let taste: f64 = liked.iter().map(|&(axis, weight)| weight * parts[item][axis]).sum();
            let whim = -(-random.random::<f64>().max(1e-12).ln()).ln();
            3.0 * taste / length + 0.5 * f64::from((aesthetic[item] - mean) / spread) + seen[item] + whim
        };
        let scores: Vec<f64> = (0..items).map(|item| score(item, &mut random)).collect();
        let mut best = warm_items.clone();
        best.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        best.truncate(CHOICES + 1);
        best.shuffle(&mut random);
        warm.push(best.pop());
        of.push(best);
        cold.push(cold_items.iter().copied().max_by(|&a, &b| scores[a].total_cmp(&scores[b])));
    }
    let users = (0..USERS).map(|user| user.to_string());
    let histories = Histories::new(users, catalogue.names().to_vec(), of).unwrap();
    Simulated { histories, warm, cold, cold_items, warm_items }
}

/// Mean hit rate and NDCG of ten, among what users could choose and among what nobody could.
#[derive(Debug, Default, Clone, Copy)]
struct Figures {
    warm: [f64; 2],
    cold: [f64; 2],
}

#[test]
fn pictures_find_what_simulated_users_choose() {
    const NAME: &str = "pictures_find_what_simulated_users_choose";
    const SEEDS: u64 = 3;
    let Some(folder) = shared::folder(NAME) else { return };
    let catalogue = Catalogue::read(folder.join("data/sun397_vitb32.safetensors")).unwrap();
    let head = LinearHead::read(folder.join("data/aesthetic/laion_v1.safetensors"), "v1.vit_b_32").unwrap();
    let aesthetic = head.scores(catalogue.features()).unwrap();
    let device = Device::flex();
    let mut table: Vec<(&str, Figures)> = Vec::new();
    for seed in 1..=SEEDS {
        let simulated = simulate(&catalogue, &aesthetic, seed);
        let histories = &simulated.histories;
        let mut run = Run::new(&device);
        let tower = Tower { seed, ..Tower::default() }.fit(&catalogue, histories, &mut run).unwrap();
        let vbpr = Bpr { seed, ..Bpr::default() }.fit(histories, Some(&catalogue), &mut run).unwrap();
        let pictures = vbpr.pictures_only().unwrap();
        let plain = tower.without_popularity();
        let random = Random { items: catalogue.len(), seed };
        let popularity = Popularity::fit(histories);
        let bpr = Bpr { seed, ..Bpr::default() }.fit(histories, None, &mut run).unwrap();
        let (raw, centred) = (HistoryMean::raw(&catalogue), HistoryMean::new(&catalogue));
        // Each with what ranks the items that nobody chose.
        let models: [(&dyn Recommender, &dyn Recommender); 8] = [
            (&random, &random),
            (&popularity, &popularity),
            (&bpr, &bpr),
            (&vbpr, &pictures),
            (&raw, &raw),
            (&centred, &centred),
            (&plain, &plain),
            (&tower, &tower),
        ];
        println!("simulated users, draw {seed}: weight of popularity {}", tower.beta());
        for (at, (model, for_cold)) in models.into_iter().enumerate() {
            let warm = evaluate(model, histories, &simulated.warm, &simulated.cold_items, 10).unwrap();
            let cold = evaluate(for_cold, histories, &simulated.cold, &simulated.warm_items, 10).unwrap();
            if table.len() == at {
                table.push((model.name(), Figures::default()));
            }
            let figures = &mut table[at].1;
            for (sums, report) in [(&mut figures.warm, warm), (&mut figures.cold, cold)] {
                sums[0] += report.hit_rate / SEEDS as f64;
                sums[1] += report.ndcg / SEEDS as f64;
            }
        }
    }
    println!("simulated users on real photographs: HR@10 / NDCG@10, warm | cold");
    for (name, Figures { warm, cold }) in &table {
        println!("{name:24} {:5.2} / {:5.2} | {:5.2} / {:5.2}", warm[0], warm[1], cold[0], cold[1]);
    }
    let of = |at: usize| table[at].1;
    let (raw, centred, tower, popular) = (of(4), of(5), of(6), of(7));
    assert!(centred.warm[0] >= 2.0 * raw.warm[0] && centred.cold[0] >= 2.0 * raw.cold[0]);
    assert!(tower.warm[0] >= centred.warm[0] && tower.cold[0] >= centred.cold[0]);
    assert!(popular.warm[0] >= 18.0 && popular.cold[0] == tower.cold[0]);
}

/// A small shop: three kinds of things, and users who choose one kind.
fn shop() -> (Catalogue, Histories) {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let values = (0..60).flat_map(|item| {
        let noise: Vec<f32> = (0..8).map(|_| random.random_range(-0.3..0.3)).collect();
        (0..8).map(move |at| 2.0 + noise[at] + f32::from(u8::from(at == item % 3)))
    });
    let images = Embeddings::new(values.collect(), 8).unwrap();
    let names: Vec<String> = (0..60).map(|item| format!("item {item}")).collect();
    let of = (0..30).map(|user| (0..5).map(|at| (user % 3) + 3 * ((user + 4 * at) % 18)).collect()).collect();
    let users = (0..30).map(|user| format!("user {user}"));
    let histories = Histories::new(users, names.clone(), of).unwrap();
    (Catalogue::new(names, &images, "shop").unwrap(), histories)
}

fn fit(catalogue: &Catalogue, histories: &Histories) -> FittedTower {
    let tower = Tower { reduction: 2, epochs: 20, batch_size: 16, ..Tower::default() };
    tower.fit(catalogue, histories, &mut Run::new(&Device::flex())).unwrap()
}

#[test]
fn a_choice_counts_at_once_and_what_was_uploaded_today_is_ranked() {
    let (catalogue, histories) = shop();
    let model = fit(&catalogue, &histories);
    let kinds = |history: &[usize]| -> Vec<usize> {
        let found = model.without_popularity().recommend(history, 5).unwrap();
        found.iter().map(|found| found.item % 3).collect()
    };
    assert_eq!(kinds(histories.of(1)), [1; 5]);
    assert_eq!(kinds(&[5]), [2; 5], "a user nobody knew");
    let found = &model.recommend(histories.of(1), 1).unwrap()[0];
    assert_eq!(found.because.len(), 3);
    assert!(found.because.iter().all(|reason| histories.of(1).contains(&reason.item)));
    assert!(found.because.windows(2).all(|pair| pair[0].part >= pair[1].part));

    let like_six = catalogue.features().select(&[6]);
    let later = model.with_new_items(["new"], &like_six).unwrap();
    let found = later.recommend(&[3, 9], 61).unwrap();
    let new = found.iter().find(|found| found.name == "new").unwrap();
    let old = found.iter().find(|found| found.item == 6).unwrap();
    assert_eq!((new.item, new.popularity), (60, 0.0));
    assert!(
        (new.score - (old.score - old.popularity)).abs() < 1e-5,
        "but for its picture nothing is known of it"
    );
    assert!(matches!(model.with_new_items(["item 0"], &like_six), Err(Error::Data { .. })));
    assert!(matches!(model.recommend(&[60], 1), Err(Error::Data { .. })));
    let nobody = model.recommend(&[], 2).unwrap();
    assert!(nobody[0].because.is_empty());
}

#[test]
fn a_saved_tower_gives_the_same_bits() {
    let (catalogue, histories) = shop();
    let (model, again) = (fit(&catalogue, &histories), fit(&catalogue, &histories));
    assert_eq!(model.scores(0, &[4, 7]), again.scores(0, &[4, 7]), "the same seed");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.safetensors");
    model.save(&path).unwrap();
    let same = FittedTower::open(&path, "shop", &Device::flex()).unwrap();
    assert_eq!((same.beta(), same.settings()), (model.beta(), model.settings()));
    assert_eq!(same.recommend(&[4, 7], 9).unwrap(), model.recommend(&[4, 7], 9).unwrap());
    let other = FittedTower::open(&path, "another shop", &Device::flex());
    assert!(matches!(other, Err(Error::Fingerprint { what: "backbones", .. })));
}

#[test]
fn histories_of_another_catalogue_are_refused() {
    let (catalogue, _) = shop();
    let other = Histories::new(["a"], ["x"], vec![vec![0]]).unwrap();
    let mut run = Run::new(&Device::flex());
    for error in [
        Tower { reduction: 2, ..Tower::default() }.fit(&catalogue, &other, &mut run).unwrap_err(),
        Bpr::default().fit(&other, Some(&catalogue), &mut run).unwrap_err(),
    ] {
        assert!(error.to_string().starts_with("items of the histories: expected those"), "{error}");
    }
}

/// A feature file of 128 items, and a table of forty users who choose one class each.
fn files(folder: &std::path::Path) -> (String, String) {
    let file = FeatureFile::synthetic(0).unwrap();
    let photos = file.split("train").unwrap();
    let of_class = |class: usize| {
        (0..photos.len()).filter(move |&row| photos.labels()[row] == class).collect::<Vec<_>>()
    };
    let classes: Vec<Vec<usize>> = (0..4).map(of_class).collect();
    let items = FeatureFile::new("shop", file.classifier().clone());
    let items = items.with_split("all", photos.clone()).unwrap();
    let path = folder.join("shop.safetensors");
    items.write(&path).unwrap();
    let mut table = "user,item,timestamp\n".to_owned();
    for user in 0..40 {
        let class = &classes[user % 4];
        for at in 0..6 {
            table += &format!("u{user},{},{at}\n", class[(user / 4 + at * 3) % class.len()]);
        }
    }
    table += "u0,999999,9\nalone,3,1\n";
    let clicks = folder.join("clicks.csv");
    std::fs::write(&clicks, table).unwrap();
    (text(path), text(clicks))
}

#[test]
fn recommend_prints_every_method_and_its_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let (items, clicks) = files(folder.path());
    let arguments = [
        "--items",
        &items,
        "--interactions",
        &clicks,
        "--user",
        "u7",
        "--top",
        "3",
        "--json",
        "out.json",
        "--html",
        "page.html",
        "--save",
        "tower.safetensors",
        "--epochs",
        "5",
    ];
    let said = run_in(folder.path(), "recommend", &arguments);
    for words in
        ["1 of 242 rows with unknown items, such as `999999`", "1 users with a single choice", "for u7"]
    {
        assert!(said.contains(words), "{said}");
    }
    let out = json(&folder.path().join("out.json"));
    for method in
        ["random", "popularity", "ease", "bpr", "vbpr", "history mean", "history mean, raw", "tower"]
    {
        for figure in ["hr10", "ndcg10", "coverage"] {
            let value = out["methods"][method][figure].as_f64();
            assert!(value.is_some_and(|value| (0.0..=100.0).contains(&value)), "{method} {figure}: {out}");
        }
    }
    assert!(out["methods"]["tower"]["hr10"].as_f64() > out["methods"]["random"]["hr10"].as_f64());
    let found = out["recommendations"].as_array().unwrap();
    assert_eq!((found.len(), found[0]["because"].as_array().unwrap().len()), (3, 3));
    let history: Vec<&str> =
        out["history"].as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect();
    assert!(history.contains(&found[0]["because"][0]["item"].as_str().unwrap()));
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(page.contains("What u7 may like") && page.contains("<td>tower</td>"));
    assert!(folder.path().join("tower.safetensors").is_file());

    let said = run_in(folder.path(), "recommend", &["--interactions", &clicks, "--json", "ids.json"]);
    assert!(said.contains("left out: what takes pictures: --items has them"), "{said}");
    let out = json(&folder.path().join("ids.json"));
    assert!(out["methods"]["ease"]["hr10"].as_f64() > out["methods"]["random"]["hr10"].as_f64());
    assert!(out["methods"].get("tower").is_none());
}

#[test]
fn what_recommend_cannot_do_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (items, clicks) = files(folder.path());
    std::fs::write(folder.path().join("bad.csv"), "user,item,timestamp\na,1,noon\n").unwrap();
    std::fs::create_dir(folder.path().join("pictures")).unwrap();
    std::fs::write(folder.path().join("clicks.parquet"), "user,item\na,1\n").unwrap();
    let many: String = (0..20_001).map(|item| format!("u{},{item}\n", item % 5)).collect();
    std::fs::write(folder.path().join("many.csv"), format!("user,item\n{many}")).unwrap();
    let parquet = match cfg!(feature = "parquet") {
        true => "clicks.parquet: table: expected a whole Parquet file",
        false => "expected CSV, found Parquet, which needs the crate feature `parquet`",
    };
    for (arguments, sentence) in [
        (vec!["--interactions", "absent.csv"], "cannot read absent.csv"),
        (vec!["--interactions", "bad.csv"], "line 2: timestamp: expected a finite number, found `noon`"),
        (vec!["--interactions", "clicks.parquet"], parquet),
        (
            vec!["--interactions", "many.csv", "--methods", "ease"],
            "items of EASE: expected at most 20000, found 20001, whose matrix takes 4 GB",
        ),
        (vec!["--interactions", &clicks, "--items", &clicks], "expected a whole safetensors file"),
        (vec!["--interactions", &clicks, "--items", "pictures"], "setting `backbone`: expected a CLIP"),
        (
            vec!["--interactions", &clicks, "--user", "nobody"],
            "setting `user`: expected one of 41 in the table",
        ),
        (vec!["--interactions", &clicks, "--methods", "magic"], "setting `methods`: expected some of random"),
        (vec!["--interactions", &clicks, "--least-rating", "3"], "heading: expected a column `rating`"),
        (vec!["--interactions", &clicks, "--json", "no/such/out.json"], "cannot write"),
        (
            vec!["--interactions", &clicks, "--items", &items, "--methods", "popularity", "--save", "a"],
            "setting `save`: expected `tower` among the methods",
        ),
    ] {
        let message = failure_in(folder.path(), "recommend", &arguments);
        assert!(message.contains(sentence), "{arguments:?}: {message}");
    }
}

//! Feature files and few-shot draws.

use clip_adapter::{Error, FeatureFile, FeatureSet, features::Embeddings};

use crate::shared::{DATASETS, features};

#[test]
fn what_is_written_is_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.safetensors");
    let file = FeatureFile::synthetic(5).unwrap().with_source("made up").with_draw(4, 9).unwrap();
    file.write(&path).unwrap();
    let same = FeatureFile::read(&path).unwrap();
    assert_eq!(same.split("val").unwrap(), file.split("val").unwrap());
    assert_eq!(same.support(4, 9).unwrap(), file.support(4, 9).unwrap());
    assert_eq!((same.dataset(), same.source()), ("synthetic minerals", "made up"));
    assert_eq!(same.classifier().fingerprint(), file.classifier().fingerprint());
    let (found, expected) = (same.classifier().weights().values(), file.classifier().weights().values());
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn a_smaller_draw_is_part_of_a_larger_one() {
    let file = FeatureFile::synthetic(0).unwrap();
    let train = file.split("train").unwrap();
    for seed in 0..20 {
        let (four, sixteen) = (train.shot_rows(4, seed).unwrap(), train.shot_rows(16, seed).unwrap());
        for class in 0..8 {
            assert_eq!(four[class * 4..][..4], sixteen[class * 16..][..4]);
        }
    }
    assert_ne!(train.shot_rows(4, 0).unwrap(), train.shot_rows(4, 1).unwrap());
}

#[test]
fn a_further_class_does_not_change_the_others_draw() {
    let file = FeatureFile::synthetic(0).unwrap();
    let train = file.split("train").unwrap();
    let rows: Vec<usize> = (0..train.len()).filter(|&row| train.labels()[row] < 7).collect();
    let fewer = train.select(&rows);
    let names = &train.class_names()[..7];
    let fewer = FeatureSet::new(fewer.embeddings().clone(), fewer.labels().to_vec(), names).unwrap();
    assert_eq!(fewer.shot_rows(4, 3).unwrap(), train.shot_rows(4, 3).unwrap()[..28]);
}

#[test]
fn too_few_images_name_the_class() {
    let rows = Embeddings::new(vec![1.0; 6], 2).unwrap();
    let set = FeatureSet::new(rows, vec![0, 0, 1], ["cat", "dog"]).unwrap();
    let error = set.shots(2, 0).unwrap_err();
    assert!(matches!(error, Error::TooFewShots { class, expected: 2, found: 1 } if class == "dog"));
    assert!(matches!(set.shots(0, 0), Err(Error::Setting { .. })));
}

#[test]
fn recorded_draws_are_used() {
    for dataset in DATASETS {
        let Some(file) = features("recorded_draws_are_used", dataset) else { return };
        let support = file.support(16, 2).unwrap();
        assert!(support.set().class_counts().iter().all(|&count| count == 16));
        assert_ne!(support, file.split("train").unwrap().shots(16, 2).unwrap());
    }
}

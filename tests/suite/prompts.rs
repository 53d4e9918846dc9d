//! Named prompt sets and templates from files.

use std::{collections::BTreeSet, fs};

use burn::tensor::Device;
use clip_adapter::{ClipBackbone, Error, Prompts};

use crate::backbone::golden;

#[test]
fn every_named_set_makes_sentences() {
    assert_eq!(Prompts::NAMES.len(), 15);
    for name in Prompts::NAMES {
        let prompts = Prompts::named(name).unwrap();
        let distinct: BTreeSet<&String> = prompts.templates().iter().collect();
        assert_eq!(distinct.len(), prompts.templates().len(), "{name}");
        for sentence in prompts.sentences(&["red fox"]) {
            assert!(sentence.contains("red fox") && !sentence.contains('{'), "{name}: {sentence}");
        }
    }
    assert_eq!(Prompts::named("single").unwrap(), Prompts::default());
}

#[test]
fn the_published_sets_are_as_published() {
    let templates = |name: &str| Prompts::named(name).unwrap().templates().to_vec();
    let (all, chosen) = (templates("imagenet-80"), templates("imagenet-7"));
    assert_eq!((all.len(), chosen.len()), (80, 7));
    assert!(chosen.iter().all(|template| all.contains(template)), "the 7 are chosen out of the 80");
    assert_eq!((all[0].as_str(), all[79].as_str()), ("a bad photo of a {}.", "a tattoo of the {}."));
    for (name, template) in [
        ("oxford-pets", "a photo of a {}, a type of pet."),
        ("food101", "a photo of {}, a type of food."),
        ("dtd", "{} texture."),
        ("eurosat", "a centered satellite photo of {}."),
        ("ucf101", "a photo of a person doing {}."),
    ] {
        assert_eq!(templates(name), [template]);
    }
}

#[test]
fn sentences_go_class_by_class_within_a_template() {
    let prompts = Prompts::new(["a {}.", "{} and {}."]).unwrap();
    assert_eq!(prompts.sentences(&["cat", "dog"]), ["a cat.", "a dog.", "cat and cat.", "dog and dog."]);
}

#[test]
fn templates_are_read_from_lines_and_from_json() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let lines = file("prompts.txt", "a photo of a {}.\r\n\n  the {}.  \n");
    let json = file("prompts.JSON", r#"["a photo of a {}.", "the {}."]"#);
    let expected = Prompts::new(["a photo of a {}.", "the {}."]).unwrap();
    assert_eq!(Prompts::read(&lines).unwrap(), expected);
    assert_eq!(Prompts::read(&json).unwrap(), expected);
    assert_eq!(Prompts::find(lines.to_str().unwrap()).unwrap(), expected);
    assert_eq!(Prompts::find("imagenet-7").unwrap(), Prompts::named("imagenet-7").unwrap());

    let part = |path| match Prompts::read(path).unwrap_err() {
        Error::Malformed { part, .. } => part,
        other => panic!("{other}"),
    };
    assert_eq!(part(file("bad.txt", "a {}.\na photo.\n")), "prompt template");
    assert_eq!(part(file("empty.txt", "\n \n")), "prompt templates");
    for text in ["", "{}", r#"["a {}.", 7]"#, "[\"a {}.\""] {
        assert_eq!(part(file("bad.json", text)), "JSON", "{text}");
    }
    fs::write(folder.path().join("bytes.txt"), [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(Prompts::read(folder.path().join("bytes.txt")), Err(Error::Malformed { .. })));
    assert!(matches!(Prompts::read(folder.path().join("absent.txt")), Err(Error::Read { .. })));
}

#[test]
fn a_wrong_template_or_name_is_one_typed_error() {
    assert!(matches!(Prompts::new(["no place"]), Err(Error::Data { .. })));
    assert!(matches!(Prompts::new(Vec::<String>::new()), Err(Error::Data { .. })));
    for error in [Prompts::named("imagenet-81").unwrap_err(), Prompts::find("imagenet-81").unwrap_err()] {
        assert!(error.to_string().contains("one of single, imagenet-7, imagenet-80, caltech101"), "{error}");
    }
}

#[test]
fn a_named_set_makes_a_classifier() {
    let clip = ClipBackbone::from_pretrained(golden("openclip_vit"), &Device::flex()).unwrap();
    let prompts = Prompts::named("imagenet-7").unwrap();
    let classifier = clip.text_classifier(&["cat", "dog"], &prompts).unwrap();
    assert_eq!(classifier.templates(), prompts.templates());
    let sentences = classifier.prompts().unwrap();
    assert_eq!(sentences.rows(), 7 * 2);
    let last = clip.encode_texts(&["a photo of the small dog."]).unwrap().normalised();
    for (found, expected) in sentences.row(13).iter().zip(last.row(0)) {
        approx::assert_abs_diff_eq!(*found, *expected, epsilon = 1e-5);
    }
}

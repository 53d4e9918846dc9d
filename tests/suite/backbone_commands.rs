//! The examples that run a backbone: what they write, what they print, and how they fail.

use std::fs;

use safetensors::{Dtype, SafeTensors};

use crate::{
    backbone::{GOLDEN, golden},
    commands::{json, run},
};

fn text(path: impl AsRef<std::path::Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

fn call(name: &str, arguments: &[String]) -> (Option<i32>, String, String) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run(name, &arguments);
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

fn images() -> Vec<String> {
    ["alpha.png", "tall_grey.png", "wide.png"].map(|name| text(golden("images").join(name))).to_vec()
}

fn floats(tensors: &SafeTensors, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).unwrap();
    assert_eq!(view.dtype(), Dtype::F32);
    view.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// What the command writes is what the reference wrote of the same images and texts.
#[test]
fn encode_writes_the_references_tensors() {
    for model in ["hf_gelu_patch14", "openclip_vit"] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out.safetensors");
        let mut arguments = vec!["--backbone".into(), text(golden(model)), "--out".into(), text(&out)];
        arguments.extend(["--texts".into(), text(golden(model).join("texts.json")), "--images".into()]);
        arguments.extend(images());
        let (status, printed, message) = call("encode", &arguments);
        assert_eq!(status, Some(0), "{message}");
        assert!(printed.contains("image_embeds   [3, 24]"), "{printed}");

        let (found, expected) =
            (fs::read(&out).unwrap(), fs::read(golden(model).join("expected.safetensors")).unwrap());
        let (found, expected) =
            (SafeTensors::deserialize(&found).unwrap(), SafeTensors::deserialize(&expected).unwrap());
        let ids = [&found, &expected].map(|tensors| tensors.tensor("input_ids").unwrap());
        assert_eq!(
            (ids[0].dtype(), ids[0].shape(), ids[0].data()),
            (Dtype::I64, ids[1].shape(), ids[1].data())
        );
        for (name, tolerance) in [("pixel_values", 0.1), ("image_embeds", 0.2), ("text_embeds", 1e-4)] {
            assert_eq!(found.tensor(name).unwrap().shape(), expected.tensor(name).unwrap().shape(), "{name}");
            let pairs = floats(&found, name).into_iter().zip(floats(&expected, name));
            let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(largest < tolerance, "{model} {name}: {largest}");
        }
        assert!(out.with_extension("part").symlink_metadata().is_err(), "nothing half-written stays");
    }
}

#[test]
fn zero_shot_prints_the_likeliest_classes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    let file = folder.path().join("classes.txt");
    fs::write(&file, "cat\ndog\n\nred fox\ncrab\nforest\nriver\n").unwrap();
    let classes = ["cat", "dog", "red fox", "crab", "forest", "river"];
    for given in [text(&file), classes.join(" , ")] {
        let mut arguments = vec!["--backbone".into(), text(golden("hf_sharded")), "--classes".into(), given];
        arguments.extend([
            "--prompts".into(),
            "imagenet-7".into(),
            "--json".into(),
            text(&out),
            "--images".into(),
        ]);
        arguments.extend(images());
        let (status, printed, message) = call("zero_shot", &arguments);
        assert_eq!(status, Some(0), "{message}");
        assert_eq!(printed.lines().count(), 3 * (1 + 5), "{printed}");
        assert!(printed.contains(" %  "), "{printed}");
        let out = json(&out);
        assert_eq!(out["classes"], serde_json::json!(classes));
        assert_eq!(out["prompts"].as_array().unwrap().len(), 7);
        for image in out["images"].as_array().unwrap() {
            let top: Vec<f64> =
                image["top"].as_array().unwrap().iter().filter_map(|c| c["probability"].as_f64()).collect();
            assert_eq!(top.len(), 5);
            assert!(top.is_sorted_by(|a, b| a >= b), "{top:?}");
            assert!(top.iter().sum::<f64>() <= 1.0 + 1e-6 && top[0] >= 1.0 / 6.0, "{top:?}");
        }
    }
}

#[test]
fn verify_backbone_trusts_a_sound_checkpoint_and_no_other() {
    let models = GOLDEN;
    for model in models.into_iter().filter(|name| *name != "hf_336") {
        let arguments = |backbone: &str| {
            let expected = text(golden(model).join("expected.safetensors"));
            ["--backbone".into(), text(golden(backbone)), "--expected".into(), expected, "--images".into()]
                .into_iter()
                .chain([text(golden("images"))])
                .collect::<Vec<String>>()
        };
        let (status, printed, message) = call("verify_backbone", &arguments(model));
        assert_eq!(status, Some(0), "{model}: {printed}{message}");
        for stage in
            ["token ids", "text embeddings", "the reference's pixels", "pixels", "from files", "logit scale"]
        {
            assert!(
                printed.lines().any(|line| line.starts_with("ok") && line.contains(stage)),
                "{stage}: {printed}"
            );
        }
    }
    // Half of its text projection is another one's: tokens and images agree, texts do not.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden("hf_gelu_patch14")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let weights = copy.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..start]).unwrap();
    let [from, to] =
        [0, 1].map(|end| header["text_projection.weight"]["data_offsets"][end].as_u64().unwrap() as usize);
    bytes[start + from..start + (from + to) / 2].fill(0);
    fs::write(&weights, bytes).unwrap();
    let expected = text(copy.path().join("expected.safetensors"));
    let (status, printed, _) =
        call("verify_backbone", &["--backbone".into(), text(copy.path()), "--expected".into(), expected]);
    assert_eq!(status, Some(1), "{printed}");
    assert!(
        printed.lines().any(|line| line.starts_with("WRONG") && line.contains("text embeddings")),
        "{printed}"
    );
    assert!(printed.lines().any(|line| line.starts_with("ok") && line.contains("token ids")), "{printed}");
    assert!(printed.contains("no images given"), "{printed}");
}

#[test]
fn mistakes_end_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.png");
    fs::write(&broken, b"no image").unwrap();
    let (model, image, out) =
        (text(golden("openclip_vit")), images()[0].clone(), text(folder.path().join("o")));
    let expected = text(golden("openclip_vit").join("expected.safetensors"));
    let other = text(golden("hf_gelu_patch14").join("expected.safetensors"));
    for (name, arguments, sentence) in [
        ("encode", vec!["--backbone", "absent", "--images", &image, "--out", &out], "cannot read absent"),
        (
            "encode",
            vec!["--backbone", &model, "--images", &text(&broken), "--out", &out],
            "expected an image",
        ),
        (
            "encode",
            vec!["--backbone", &model, "--images", &image, "--texts", "absent.txt", "--out", &out],
            "cannot read absent.txt",
        ),
        (
            "encode",
            vec!["--backbone", &model, "--images", &image, "--out", "no/such/folder/o"],
            "cannot write",
        ),
        ("zero_shot", vec!["--backbone", &model, "--classes", "cat,cat", "--images", &image], "`cat` again"),
        (
            "zero_shot",
            vec![
                "--backbone",
                &model,
                "--classes",
                "cat,dog",
                "--images",
                &image,
                "--prompts",
                "imagenet-81",
            ],
            "expected one of single, imagenet-7",
        ),
        ("zero_shot", vec!["--backbone", &model, "--images", &image], "--classes"),
        ("verify_backbone", vec!["--backbone", &model, "--expected", "absent"], "cannot read absent"),
        ("verify_backbone", vec!["--backbone", &model, "--expected", &text(&broken)], "safetensors"),
        ("verify_backbone", vec!["--backbone", &model, "--expected", &other], "expected"),
        (
            "verify_backbone",
            vec!["--backbone", &model, "--expected", &expected, "--images", &text(folder.path())],
            "as many as are compared",
        ),
        (
            "verify_backbone",
            vec!["--backbone", &model, "--expected", &expected, "--device", "abacus"],
            "abacus",
        ),
    ]
    .map(|(name, arguments, sentence)| {
        (name, arguments.into_iter().map(String::from).collect::<Vec<_>>(), sentence)
    }) {
        let (status, _, message) = call(name, &arguments);
        assert_eq!(status, Some(2), "{name} {arguments:?}: {message}");
        assert!(message.contains(sentence), "{name} {arguments:?}: {message}");
        assert!(!message.contains("panicked"), "{name} {arguments:?}: {message}");
    }
    assert!(!folder.path().join("o").exists());
}

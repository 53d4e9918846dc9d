//! `preprocessor_config.json` and `processor_config.json`.

use std::fs;

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error,
    input::{Preprocess, Resampling, ResizeMode},
};
use serde_json::json;

use super::{ABSENT, Changed, PROCESSOR, blamed, refused};
use crate::backbone::golden;

/// `hf_sharded`: 60 pixels, resized as torchvision does.
fn usual() -> Preprocess {
    Preprocess { resize: 60, crop: 60, resampling: Resampling::Torchvision, ..Default::default() }
}

#[test]
fn an_image_processor_is_done() {
    let squash = |resize| Preprocess { resize, resize_mode: ResizeMode::Squash, ..usual() };
    let scaled = |rescale| Preprocess { rescale, ..usual() };
    let plain = || Preprocess { mean: [0.0; 3], std: [1.0; 3], ..usual() };
    for (change, expected) in [
        (json!({}), usual()),
        (json!({ "size": 70 }), Preprocess { resize: 70, ..usual() }),
        (json!({ "size": { "shortest_edge": 70 } }), Preprocess { resize: 70, ..usual() }),
        (json!({ "size": { "shortest_edge": 60, "longest_edge": null } }), usual()),
        (json!({ "size": { "height": 60, "width": 60 } }), squash(60)),
        (json!({ "size": [70, 70] }), squash(70)),
        (json!({ "size": 70, "default_to_square": true }), squash(70)),
        (json!({ "size": [60, 60], "do_center_crop": false, "crop_size": 9 }), squash(60)),
        (json!({ "size": [60, 60], "do_center_crop": null, "crop_size": null }), squash(60)),
        (json!({ "crop_size": [60, 60] }), usual()),
        (json!({ "crop_size": { "height": 60, "width": 60 } }), usual()),
        (json!({ "do_rescale": false }), scaled(1.0)),
        (json!({ "do_rescale": null, "rescale_factor": 7 }), scaled(1.0)),
        (json!({ "rescale_factor": 1.0 / 127.5 }), scaled(1.0 / 127.5)),
        (json!({ "rescale_factor": 1.0 / 255.0 }), usual()),
        (json!({ "do_normalize": false, "image_std": [0, 0, 0] }), plain()),
        (json!({ "do_normalize": false, "do_rescale": false }), Preprocess { rescale: 1.0, ..plain() }),
        (json!({ "image_mean": 0.5 }), Preprocess { mean: [0.5; 3], ..usual() }),
        (json!({ "image_std": [0.1, 0.2, 0.3] }), Preprocess { std: [0.1, 0.2, 0.3], ..usual() }),
        (json!({ "image_mean": ABSENT, "resample": ABSENT, "do_resize": ABSENT }), usual()),
        (json!({ "feature_extractor_type": ABSENT }), usual()),
        (json!({ "image_processor_type": "CLIPImageProcessorFast" }), usual()),
        (json!({ "image_processor_type": "CLIPFeatureExtractor" }), usual()),
        (
            json!({ "image_processor_type": "CLIPImageProcessorPil" }),
            Preprocess { resampling: Resampling::Pillow, ..usual() },
        ),
        (json!({ "image_processor_type": "CLIPImageProcessor", "feature_extractor_type": "Vit" }), usual()),
        (
            json!({
                "do_convert_rgb": true, "do_pad": null, "pad_size": null, "data_format": "channels_first",
                "input_data_format": null, "device": null, "return_tensors": null, "disable_grouping": null,
                "processor_class": "CLIPProcessor", "_valid_processor_keys": ["images"],
            }),
            usual(),
        ),
    ] {
        let clip = Changed::with("hf_sharded", PROCESSOR, "", &change).open();
        let clip = clip.unwrap_or_else(|error| panic!("{change}: {error}"));
        assert_eq!(*clip.preprocess(), expected, "{change}");
    }
}

#[test]
fn an_image_processor_that_is_not_ours_is_refused() {
    refused(
        "hf_sharded",
        PROCESSOR,
        "",
        &[
            (json!({ "do_resize": false }), "do_resize"),
            (json!({ "do_resize": null }), "do_resize"),
            (json!({ "size": { "longest_edge": 60 } }), "size"),
            (json!({ "size": { "shortest_edge": 60, "longest_edge": 80 } }), "size"),
            (json!({ "size": { "height": 60, "width": 70 } }), "size"),
            (json!({ "size": { "height": 60 } }), "size"),
            (json!({ "size": [60, 70] }), "size"),
            (json!({ "size": [60] }), "size"),
            (json!({ "size": 60.0 }), "size"),
            (json!({ "size": -60 }), "size"),
            (json!({ "size": null }), "size"),
            (json!({ "size": 59 }), "size"), // transformers fills up with black
            (json!({ "size": ABSENT, "crop_size": ABSENT }), "crop_size"), // 224 each
            (json!({ "size": [70, 70], "do_center_crop": false }), "size"), // not the tower's
            (json!({ "do_center_crop": false }), "do_center_crop"),
            (json!({ "do_center_crop": 1 }), "do_center_crop"),
            (json!({ "crop_size": [60, 50] }), "crop_size"),
            (json!({ "crop_size": { "shortest_edge": 60 } }), "crop_size"),
            (json!({ "crop_size": 50 }), "crop_size"), // not the tower's
            (json!({ "resample": 2 }), "resample"),
            (json!({ "resample": "3" }), "resample"),
            (json!({ "rescale_factor": 0 }), "rescale_factor"),
            (json!({ "rescale_factor": "1/255" }), "rescale_factor"),
            (json!({ "do_rescale": "false" }), "do_rescale"),
            (json!({ "image_mean": [0.5, 0.5] }), "image_mean"),
            (json!({ "image_std": [0, 1, 1] }), "image_std"),
            (json!({ "do_convert_rgb": false }), "do_convert_rgb"),
            (json!({ "do_pad": true, "pad_size": { "height": 60, "width": 60 } }), "do_pad"),
            (json!({ "data_format": "channels_last" }), "data_format"),
            (json!({ "input_data_format": "channels_last" }), "input_data_format"),
            (json!({ "use_square_size": true }), "use_square_size"),
            (json!({ "image_processor_type": "SiglipImageProcessor" }), "image_processor_type"),
            (json!({ "feature_extractor_type": "ViTFeatureExtractor" }), "feature_extractor_type"),
            (json!({ "auto_map": { "AutoImageProcessor": "a.B" } }), "auto_map"),
            (json!({ "do_flip_channel_order": true }), "do_flip_channel_order"), // not of CLIP's processor
        ],
    );
}

/// A few values of every preparation, at these places of channel, row and column.
#[test]
fn pixels_of_other_preparations_are_the_references() {
    let places = [(0, 0, 0), (0, 29, 41), (1, 30, 30), (2, 59, 7), (2, 12, 58)];
    let squash = json!({ "size": { "height": 60, "width": 60 } });
    for (change, expected) in [
        (json!({}), [-0.916357, -1.64628, 1.36952, 1.37801, -0.129314]),
        (squash, [0.747864, -1.74847, 1.54961, 0.866091, -0.527475]),
        (json!({ "size": [70, 70] }), [0.864651, 0.0471392, 1.5346, 1.03673, -0.612796]),
        (json!({ "do_normalize": false }), [0.235294, 0.0392157, 0.815686, 0.788235, 0.372549]),
        (json!({ "rescale_factor": 0.00784313725490196 }), [-0.0404514, -1.50029, 4.49113, 4.23625, 1.22159]),
        (json!({ "do_rescale": false }), [221.564, 35.4337, 794.26, 727.369, 343.001]),
        (json!({ "do_rescale": false, "do_normalize": false }), [60.0, 10.0, 208.0, 201.0, 95.0]),
        (json!({ "image_mean": 0.5, "image_std": 0.25 }), [-1.05882, -1.84314, 1.26275, 1.15294, -0.509804]),
    ] {
        let clip = Changed::with("hf_sharded", PROCESSOR, "", &change).open().unwrap();
        let image = clip.preprocess().decode(&golden("images").join("wide.png")).unwrap();
        let pixels = clip.preprocess().pixels(&image).unwrap();
        let found = places.map(|(channel, row, column)| pixels[(channel * 60 + row) * 60 + column]);
        approx::assert_relative_eq!(&found[..], &expected[..], max_relative = 1e-5); // six digits
    }
}

/// As `CLIPProcessor.save_pretrained` of transformers 5.24.0 writes it.
const SAVED: &str = r#"{
  "image_processor": {
    "crop_size": {
      "height": 60,
      "width": 60
    },
    "do_center_crop": true,
    "do_convert_rgb": true,
    "do_normalize": true,
    "do_rescale": true,
    "do_resize": true,
    "image_mean": [
      0.48145466,
      0.4578275,
      0.40821073
    ],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [
      0.26862954,
      0.26130258,
      0.27577711
    ],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {
      "shortest_edge": 60
    }
  },
  "processor_class": "CLIPProcessor"
}
"#;
const NEWER: &str = "processor_config.json";

#[test]
fn the_file_of_transformers_5_is_enough() {
    let copy = Changed::of("hf_sharded");
    fs::remove_file(copy.path(PROCESSOR)).unwrap();
    let error = copy.open().unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if path.ends_with(PROCESSOR)), "{error}");
    fs::write(copy.path(NEWER), SAVED).unwrap();
    let clip = copy.open().unwrap();
    assert_eq!(*clip.preprocess(), usual());
    assert_eq!(
        clip.identity(),
        ClipBackbone::from_pretrained(golden("hf_sharded"), &Device::flex()).unwrap().identity()
    );
}

#[test]
fn the_newer_file_counts_where_it_holds_an_image_processor() {
    let copy = Changed::of("hf_sharded");
    fs::write(copy.path(NEWER), SAVED.replace("\"shortest_edge\": 60", "\"shortest_edge\": 70")).unwrap();
    assert_eq!(copy.open().unwrap().preprocess().resize, 70);
    fs::write(copy.path(PROCESSOR), "not looked at").unwrap();
    assert_eq!(copy.open().unwrap().preprocess().resize, 70);
    // As version 4 wrote it, beside the other.
    let copy = Changed::of("hf_sharded");
    for older in [r#"{ "processor_class": "CLIPProcessor" }"#, r#"{ "image_processor": null }"#] {
        fs::write(copy.path(NEWER), older).unwrap();
        assert_eq!(copy.open().unwrap().preprocess().resize, 60);
    }
    fs::write(copy.path(NEWER), SAVED.replace("\"resample\": 3", "\"resample\": 1")).unwrap();
    assert_eq!(blamed(NEWER, copy.open(), "resample"), "image_processor.resample");
    fs::write(copy.path(NEWER), SAVED.replace("processor_class", "processor_classes")).unwrap();
    assert_eq!(blamed(NEWER, copy.open(), "processor_classes"), "processor_classes");
}

#[cfg(feature = "hub")]
#[test]
fn the_file_of_transformers_5_is_enough_in_the_cache_of_the_hub() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--acme--clip/snapshots/main");
    fs::create_dir_all(&snapshot).unwrap();
    let copy = Changed::of("hf_sharded");
    fs::write(copy.path(NEWER), SAVED).unwrap();
    for entry in fs::read_dir(copy.0.path()).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name() != PROCESSOR {
            fs::copy(entry.path(), snapshot.join(entry.file_name())).unwrap();
        }
    }
    let cache = Some(cache.path().into());
    let hub = clip_adapter::backbone::Hub { cache, offline: true, revision: None, endpoint: None };
    assert_eq!(hub.fetch("acme/clip").unwrap(), snapshot);
    ClipBackbone::from_pretrained(snapshot, &Device::flex()).unwrap();
}

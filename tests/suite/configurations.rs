//! What a configuration says is done as the reference does it, or refused with the key's name. One key of a golden model
//! is changed at a time. The values are those of transformers 5.24.0 and open_clip 3.3.0; `tests/golden/export_configurations.py`
//! printed the pixels and the file.

mod hugging_face;
mod open_clip;
mod processor;
mod tokenizer;

use std::{fs, path::PathBuf};

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, Result,
    backbone::TrainableClip,
    input::{CropRounding, Preprocess, Resampling, ResizeMode},
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backbone::{copy_golden, golden};

/// Stands for a key that is not there.
const ABSENT: &str = "(absent)";

/// A golden model that may be changed.
struct Changed(TempDir);

impl Changed {
    fn of(model: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_golden(model, folder.path());
        Self(folder)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Changes keys of the object at `pointer`.
    fn with(model: &str, file: &str, pointer: &str, changes: &Value) -> Self {
        let copy = Self::of(model);
        let mut json: Value = serde_json::from_slice(&fs::read(copy.path(file)).unwrap()).unwrap();
        let place = json.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        for (key, value) in changes.as_object().unwrap() {
            match value {
                value if value == ABSENT => place.remove(key),
                value => place.insert(key.clone(), value.clone()),
            };
        }
        fs::write(copy.path(file), json.to_string()).unwrap();
        copy
    }

    fn open(&self) -> Result<ClipBackbone> {
        ClipBackbone::from_pretrained(self.0.path(), &Device::flex())
    }
}

/// What a change is answered with, where it is refused: the file and the key, or the setting.
fn blamed(file: &str, outcome: Result<ClipBackbone>, change: &str) -> String {
    match outcome {
        Ok(_) => panic!("{change}: was read"),
        Err(Error::Malformed { path, part, .. }) => {
            assert!(path.ends_with(file), "{change}: {}", path.display());
            part
        }
        Err(Error::Setting { name, .. }) => name,
        Err(error) => panic!("{change}: {error}"),
    }
}

fn refused(model: &str, file: &str, pointer: &str, changes: &[(Value, &str)]) {
    for (change, key) in changes {
        let copy = Changed::with(model, file, pointer, change);
        assert_eq!(blamed(file, copy.open(), &change.to_string()), *key, "{change}");
    }
}

const PROCESSOR: &str = "preprocessor_config.json";

#[test]
fn what_is_written_is_read_back() {
    let device = Device::flex().autodiff();
    let like = TrainableClip::from_pretrained(golden("hf_gelu_patch14"), &device).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for preprocess in [
        like.preprocess().clone(),
        Preprocess { resize: 60, resize_mode: ResizeMode::Squash, ..like.preprocess().clone() },
        Preprocess { rescale: 1.0 / 127.5, mean: [1.0; 3], ..like.preprocess().clone() },
        Preprocess { rounding: CropRounding::HalfEven, orient: true, ..like.preprocess().clone() },
        Preprocess { resampling: Resampling::Torchvision, rescale: 1.0, ..like.preprocess().clone() },
    ] {
        let clip = TrainableClip::random(like.config(), &preprocess, 1, &device).unwrap();
        clip.save(folder.path()).unwrap();
        let again = TrainableClip::from_pretrained(folder.path(), &device).unwrap();
        assert_eq!((again.config(), again.preprocess()), (like.config(), &preprocess));
    }
    let mut config = like.config().clone();
    config.text.end = Some(2); // which a file could not say
    let clip = TrainableClip::random(&config, like.preprocess(), 1, &device).unwrap();
    let error = clip.save(folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Setting { name, .. } if name == "end"), "{error}");
}

#[test]
fn an_identity_says_what_is_not_usual_and_nothing_else() {
    let usual = ClipBackbone::from_pretrained(golden("hf_sharded"), &Device::flex()).unwrap();
    let end = " QuickGelu 60/60 Torchvision Down mean [0.48145467, 0.4578275, 0.40821072] \
               std [0.26862955, 0.2613026, 0.2757771]";
    assert!(usual.identity().ends_with(end), "{}", usual.identity());
    for (change, more) in [
        (json!({ "size": [60, 60] }), " squashed"),
        (json!({ "do_rescale": false }), " rescale 1.0"),
        (json!({ "size": [60, 60], "rescale_factor": 0.5 }), " squashed rescale 0.5"),
        (json!({ "do_rescale": true, "rescale_factor": 0.00392156862745098 }), ""),
    ] {
        let clip = Changed::with("hf_sharded", PROCESSOR, "", &change).open().unwrap();
        assert_eq!(clip.identity(), format!("{}{more}", usual.identity()), "{change}");
        let oriented = format!("{}{more} oriented", usual.identity());
        assert_eq!(clip.with_exif_orientation().identity(), oriented);
    }
}

#[test]
fn a_logit_scale_is_one_number() {
    let bytes = fs::read(golden("hf_gelu_patch14").join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let two = [0u8; 4];
    for (shape, good) in
        [(vec![], true), (vec![1], true), (vec![0], false), (vec![2], false), (vec![1, 1], false)]
    {
        let count: usize = shape.iter().product();
        let scale = TensorView::new(Dtype::F16, shape.clone(), &two[..2 * count]).unwrap();
        let others = tensors.tensors().into_iter().filter(|(name, _)| name != "logit_scale");
        let all: Vec<(String, TensorView)> = others.chain([("logit_scale".into(), scale)]).collect();
        let copy = Changed::of("hf_gelu_patch14");
        fs::write(copy.path("model.safetensors"), safetensors::serialize(all, None).unwrap()).unwrap();
        match copy.open() {
            Ok(clip) => assert!(good && clip.logit_scale() == 1.0, "{shape:?}"),
            Err(Error::Weights { misshapen, .. }) => {
                assert_eq!(misshapen, [format!("logit_scale: expected [], found {shape:?}")]);
                assert!(!good);
            }
            Err(error) => panic!("{shape:?}: {error}"),
        }
    }
}

//! Checkpoints by their names on the hub. Nothing is downloaded here: the cache is made by hand.

use burn::tensor::Device;
use clip_adapter::{
    ClipBackbone, Error, Prompts,
    backbone::{Preset, VisionKind},
};

#[test]
fn a_folder_that_exists_wins_over_a_repository_of_that_name() {
    // Tests run in the package's folder, where this is one; it holds no checkpoint itself.
    let error = ClipBackbone::from_pretrained("tests/golden", &Device::flex()).unwrap_err();
    assert!(matches!(&error, Error::Read { path, .. } if path.ends_with("golden/config.json")), "{error}");
}

#[cfg(not(feature = "hub"))]
#[test]
fn a_build_without_the_hub_says_how_to_have_it() {
    let error = ClipBackbone::from_pretrained("acme/tiny-clip", &Device::flex()).unwrap_err();
    assert!(matches!(&error, Error::HubDisabled { repository } if repository == "acme/tiny-clip"), "{error}");
    assert!(error.to_string().contains("crate feature `hub`"), "{error}");
}

#[test]
fn presets_are_consistent() {
    for (index, preset) in Preset::ALL.iter().enumerate() {
        assert_eq!(Preset::find(preset.name), Some(preset));
        assert_eq!(Preset::find(&preset.name.to_uppercase()), Some(preset));
        assert_eq!(Preset::find(preset.id), Some(preset), "two presets of one repository");
        assert!(!Preset::ALL[..index].iter().any(|other| other.name == preset.name), "{}", preset.name);
        assert_eq!(preset.id.split('/').count(), 2, "{}", preset.id);
        assert!(Prompts::named(preset.prompts).is_ok(), "{}", preset.prompts);
        let patch = preset.patch_size.unwrap_or(32); // a ResNet halves five times
        assert_eq!(preset.image_size % patch, 0, "{}", preset.name);
        assert_eq!(preset.patch_size.is_none(), preset.name.starts_with("rn"), "{}", preset.name);
    }
    assert_eq!(Preset::find("vit-b-33/openai"), None);
    for publisher in ["openai", "laion2b", "dfn2b", "metaclip", "tinyclip"] {
        assert!(Preset::ALL.iter().any(|preset| preset.name.ends_with(publisher)), "{publisher}");
    }
}

/// The loader's own check of the facts in a preset, on a checkpoint that is at hand.
#[test]
fn a_configuration_says_what_a_preset_does() {
    let folder = crate::backbone::golden("openclip_vit");
    let clip = ClipBackbone::from_pretrained(folder, &Device::flex()).unwrap();
    let VisionKind::Vit { patch_size, .. } = clip.config().vision.kind else { panic!("a ViT") };
    assert_eq!((clip.config().vision.image_size, patch_size, clip.config().embed_dim), (32, 8, 24));
}

#[cfg(feature = "hub")]
mod cache {
    use std::{
        env, fs, net,
        path::{Path, PathBuf},
        process::Command,
        time::{Duration, Instant},
    };

    use burn::tensor::Device;
    use clip_adapter::{ClipBackbone, Error, Result, backbone::Hub};
    use tempfile::TempDir;

    use crate::backbone::golden;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A cache that holds a golden model as `acme/tiny-clip`, as `huggingface_hub` lays it out.
    fn cache(model: &str) -> (TempDir, PathBuf) {
        let cache = tempfile::tempdir().unwrap();
        let repository = cache.path().join("models--acme--tiny-clip");
        let snapshot = repository.join("snapshots").join(COMMIT);
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(repository.join("refs")).unwrap();
        fs::write(repository.join("refs/main"), COMMIT).unwrap();
        for entry in fs::read_dir(golden(model)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, snapshot.join(path.file_name().unwrap())).unwrap();
        }
        (cache, snapshot)
    }

    fn offline(cache: &Path) -> Hub {
        Hub { cache: Some(cache.into()), offline: true, revision: None, endpoint: None }
    }

    fn fetch(hub: &Hub) -> Result<PathBuf> {
        hub.fetch("acme/tiny-clip")
    }

    #[test]
    fn a_checkpoint_in_the_cache_needs_no_network() {
        for model in ["hf_gelu_patch14", "hf_sharded", "openclip_vit", "openclip_resnet"] {
            let (cache, snapshot) = cache(model);
            assert_eq!(fetch(&offline(cache.path())).unwrap(), snapshot, "{model}");
            // Nor is it asked for when there might be one.
            let online = Hub { offline: false, endpoint: Some(nowhere()), ..offline(cache.path()) };
            let folder = fetch(&online).unwrap();
            let commit = Hub { revision: Some(COMMIT.into()), ..offline(cache.path()) };
            assert_eq!(fetch(&commit).unwrap(), folder);

            let clip = ClipBackbone::from_pretrained(folder, &Device::flex()).unwrap();
            let copy = ClipBackbone::from_pretrained(golden(model), &Device::flex()).unwrap();
            let identity = copy.identity().replace(model, "tiny-clip");
            assert_eq!(clip.identity(), identity, "named after the repository, not the commit");
            let texts = ["a photo of a cat."];
            assert_eq!(clip.encode_texts(&texts).unwrap(), copy.encode_texts(&texts).unwrap());
        }
    }

    #[test]
    fn what_is_lacking_is_named_with_the_repository_and_the_cache() {
        for (model, file) in [
            ("hf_gelu_patch14", "config.json"),
            ("hf_gelu_patch14", "preprocessor_config.json"),
            ("hf_gelu_patch14", "model.safetensors"),
            ("hf_sharded", "model-00002-of-00002.safetensors"),
            ("openclip_vit", "tokenizer.json"),
            ("openclip_vit", "open_clip_model.safetensors"),
        ] {
            let (cache, snapshot) = cache(model);
            fs::remove_file(snapshot.join(file)).unwrap();
            let error = fetch(&offline(cache.path())).unwrap_err();
            let Error::Hub { repository, file: found, cache: looked, reason, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!((repository.as_str(), found.as_str()), ("acme/tiny-clip", file));
            assert_eq!(looked, &cache.path().join("models--acme--tiny-clip"));
            assert!(reason.contains("offline"), "{reason}");
            let message = error.to_string();
            assert!(message.contains(file) && message.contains("models--acme--tiny-clip"), "{message}");
        }
        let empty = tempfile::tempdir().unwrap();
        let other = Hub { revision: Some("refs/pr/1".into()), ..offline(cache("openclip_vit").0.path()) };
        for hub in [offline(empty.path()), other] {
            let error = fetch(&hub).unwrap_err();
            assert!(matches!(&error, Error::Hub { file, .. } if file == "config.json"), "{error}");
        }
    }

    #[test]
    fn without_a_network_the_error_comes_soon_and_says_so() {
        let empty = tempfile::tempdir().unwrap();
        let hub = Hub { offline: false, endpoint: Some(nowhere()), ..offline(empty.path()) };
        let start = Instant::now();
        let error = fetch(&hub).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(30));
        let Error::Hub { repository, reason, .. } = &error else { panic!("{error}") };
        assert_eq!(repository, "acme/tiny-clip");
        assert!(!reason.is_empty() && !reason.contains("offline"), "{reason}");
    }

    #[test]
    fn a_preset_is_found_by_its_short_name() {
        let empty = tempfile::tempdir().unwrap();
        let error = offline(empty.path()).fetch("vit-b-32/openai").unwrap_err();
        let Error::Hub { repository, cache, .. } = &error else { panic!("{error}") };
        assert_eq!(repository, "openai/clip-vit-base-patch32");
        assert!(cache.ends_with("models--openai--clip-vit-base-patch32"));
    }

    /// The environment belongs to a process, so this test is its own child.
    #[test]
    fn the_environment_names_the_cache_and_forbids_the_network() {
        if env::var_os("CLIP_ADAPTER_CHILD").is_some() {
            assert!(Hub::default().offline);
            ClipBackbone::from_pretrained("acme/tiny-clip", &Device::flex()).unwrap();
            let error = ClipBackbone::from_pretrained("acme/other", &Device::flex()).unwrap_err();
            assert!(matches!(&error, Error::Hub { .. }), "{error}");
            return;
        }
        let (cache, _) = cache("openclip_vit");
        let name = "hub::cache::the_environment_names_the_cache_and_forbids_the_network";
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", name])
            .env("CLIP_ADAPTER_CHILD", "1")
            .env("HF_HUB_CACHE", cache.path())
            .env("HF_HUB_OFFLINE", "True")
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    }

    /// An address where nobody listens.
    fn nowhere() -> String {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }
}

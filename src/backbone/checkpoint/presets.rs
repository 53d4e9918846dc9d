use super::CheckpointLayout;
use super::CheckpointLayout::{HuggingFace, OpenClip};
use crate::backbone::TowerActivation;

/// A public CLIP, by a short name: what there is to know of it before it is downloaded.
///
/// What is computed is always read from the checkpoint itself; a preset helps to choose one. The names are
/// architecture and training data: `vit-b-32/openai`, `vit-l-14/laion2b`, `vit-8m-16/tinyclip`.
///
/// # Examples
/// ```
/// use clip_adapter::backbone::{Preset, TowerActivation};
///
/// let preset = Preset::find("ViT-B-32/openai").unwrap();
/// assert_eq!(preset.id, "openai/clip-vit-base-patch32");
/// assert_eq!((preset.image_size, preset.patch_size, preset.embed_dim), (224, Some(32), 512));
/// assert_eq!(preset.activation, Some(TowerActivation::QuickGelu));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Short name.
    pub name: &'static str,
    /// Repository on the Hugging Face hub.
    pub id: &'static str,
    /// Branch or pull request that holds the files.
    pub revision: &'static str,
    /// Layout that is loaded, of those in the repository.
    pub layout: CheckpointLayout,
    /// Whether the repository was seen to hold safetensors. Where it was not, its pickled weights have to be
    /// converted first.
    pub safetensors: bool,
    /// The MLPs' non-linearity; none where only the checkpoint's own file says it.
    pub activation: Option<TowerActivation>,
    /// Side of the input, in pixels.
    pub image_size: usize,
    /// Side of a patch, in pixels; none for a ResNet.
    pub patch_size: Option<usize>,
    /// Width of an embedding.
    pub embed_dim: usize,
    /// The [named prompts](crate::input::Prompts::named) that its publishers score it with on general photos.
    pub prompts: &'static str,
}

impl Preset {
    /// All of them, by publisher.
    pub const ALL: &'static [Self] = &PRESETS;

    /// The preset of this short name, in any case, or of this repository.
    pub fn find(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.name.eq_ignore_ascii_case(name) || preset.id == name)
    }
}

/// Image size, patch size and embedding width: open_clip's `model_configs`, which are OpenAI's for its own.
type Size = (usize, Option<usize>, usize);

const RN50: Size = (224, None, 1024);
const RN101: Size = (224, None, 512);
const RN50X4: Size = (288, None, 640);
const RN50X16: Size = (384, None, 768);
const RN50X64: Size = (448, None, 1024);
const B32: Size = (224, Some(32), 512);
const B16: Size = (224, Some(16), 512);
const L14: Size = (224, Some(14), 768);
const L14_336: Size = (336, Some(14), 768);
const H14: Size = (224, Some(14), 1024);
const G14: Size = (224, Some(14), 1024);
const BIGG14: Size = (224, Some(14), 1280);

const QUICK_GELU: Option<TowerActivation> = Some(TowerActivation::QuickGelu);
const GELU: Option<TowerActivation> = Some(TowerActivation::Gelu);

const fn preset(
    name: &'static str,
    id: &'static str,
    layout: CheckpointLayout,
    activation: Option<TowerActivation>,
    (image_size, patch_size, embed_dim): Size,
) -> Preset {
    Preset {
        name,
        id,
        revision: "main",
        layout,
        safetensors: true,
        activation,
        image_size,
        patch_size,
        embed_dim,
        prompts: "imagenet-80", // OpenAI's paper, and open_clip's zero-shot evaluation for all the others
    }
}

/// Repositories, their files and activations as open_clip's `pretrained.py` and stored pages of the hub show them.
/// Nothing of it could be downloaded where this was written.
///
/// - OpenAI: the weights were published as TorchScript. `clip-vit-base-patch32` has safetensors in the hub's own
///   pull request 15, which candle's example loads; `clip-vit-large-patch14` has them in main. Of the others timm
///   holds copies in the layout of open_clip, the ResNets among them.
/// - LAION: main holds `open_clip_model.safetensors`; of L/14 `open_clip_pytorch_model.safetensors`.
/// - DFN: B/16 and H/14 were seen with `open_clip_pytorch_model.bin` alone; L/14 has safetensors in pull request 1.
/// - MetaCLIP: timm's copies. Meta's own repositories, `facebook/metaclip-*`, have no `tokenizer.json`.
/// - TinyCLIP: the authors' own. Pull request 1 of 39M-16 is the one seen to hold safetensors; all embed in 512.
const PRESETS: [Preset; 29] = [
    preset("rn50/openai", "timm/resnet50_clip.openai", OpenClip, QUICK_GELU, RN50),
    preset("rn101/openai", "timm/resnet101_clip.openai", OpenClip, QUICK_GELU, RN101),
    preset("rn50x4/openai", "timm/resnet50x4_clip.openai", OpenClip, QUICK_GELU, RN50X4),
    preset("rn50x16/openai", "timm/resnet50x16_clip.openai", OpenClip, QUICK_GELU, RN50X16),
    preset("rn50x64/openai", "timm/resnet50x64_clip.openai", OpenClip, QUICK_GELU, RN50X64),
    Preset {
        revision: "refs/pr/15",
        ..preset("vit-b-32/openai", "openai/clip-vit-base-patch32", HuggingFace, QUICK_GELU, B32)
    },
    preset("vit-b-16/openai", "timm/vit_base_patch16_clip_224.openai", OpenClip, QUICK_GELU, B16),
    preset("vit-l-14/openai", "openai/clip-vit-large-patch14", HuggingFace, QUICK_GELU, L14),
    preset("vit-l-14-336/openai", "timm/vit_large_patch14_clip_336.openai", OpenClip, QUICK_GELU, L14_336),
    preset("vit-b-32/laion2b", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", OpenClip, GELU, B32),
    preset("vit-b-16/laion2b", "laion/CLIP-ViT-B-16-laion2B-s34B-b88K", OpenClip, GELU, B16),
    preset("vit-l-14/laion2b", "laion/CLIP-ViT-L-14-laion2B-s32B-b82K", OpenClip, GELU, L14),
    preset("vit-h-14/laion2b", "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", OpenClip, GELU, H14),
    preset("vit-g-14/laion2b", "laion/CLIP-ViT-g-14-laion2B-s34B-b88K", OpenClip, GELU, G14),
    preset("vit-bigg-14/laion2b", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", OpenClip, GELU, BIGG14),
    Preset {
        safetensors: false,
        ..preset("vit-b-16/dfn2b", "apple/DFN2B-CLIP-ViT-B-16", OpenClip, QUICK_GELU, B16)
    },
    Preset {
        revision: "refs/pr/1",
        ..preset("vit-l-14/dfn2b", "apple/DFN2B-CLIP-ViT-L-14", OpenClip, QUICK_GELU, L14)
    },
    Preset {
        safetensors: false,
        ..preset("vit-h-14/dfn5b", "apple/DFN5B-CLIP-ViT-H-14", OpenClip, QUICK_GELU, H14)
    },
    preset(
        "vit-b-32/metaclip-400m",
        "timm/vit_base_patch32_clip_224.metaclip_400m",
        OpenClip,
        QUICK_GELU,
        B32,
    ),
    preset("vit-b-32/metaclip", "timm/vit_base_patch32_clip_224.metaclip_2pt5b", OpenClip, QUICK_GELU, B32),
    preset(
        "vit-b-16/metaclip-400m",
        "timm/vit_base_patch16_clip_224.metaclip_400m",
        OpenClip,
        QUICK_GELU,
        B16,
    ),
    preset("vit-b-16/metaclip", "timm/vit_base_patch16_clip_224.metaclip_2pt5b", OpenClip, QUICK_GELU, B16),
    preset(
        "vit-l-14/metaclip-400m",
        "timm/vit_large_patch14_clip_224.metaclip_400m",
        OpenClip,
        QUICK_GELU,
        L14,
    ),
    preset("vit-l-14/metaclip", "timm/vit_large_patch14_clip_224.metaclip_2pt5b", OpenClip, QUICK_GELU, L14),
    preset("vit-h-14/metaclip", "timm/vit_huge_patch14_clip_224.metaclip_2pt5b", OpenClip, QUICK_GELU, H14),
    preset("vit-8m-16/tinyclip", "wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M", HuggingFace, None, B16),
    Preset {
        revision: "refs/pr/1",
        ..preset("vit-39m-16/tinyclip", "wkcn/TinyCLIP-ViT-39M-16-Text-19M-YFCC15M", HuggingFace, None, B16)
    },
    preset("vit-40m-32/tinyclip", "wkcn/TinyCLIP-ViT-40M-32-Text-19M-LAION400M", HuggingFace, None, B32),
    preset("vit-61m-32/tinyclip", "wkcn/TinyCLIP-ViT-61M-32-Text-29M-LAION400M", HuggingFace, None, B32),
];

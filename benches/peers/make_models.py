"""Writes random CLIP checkpoints of real sizes, for measurements that need no trained weights.

    python benches/peers/make_models.py --tokenizer shared/fixtures/vit-legacy --out models
        [--only vit-b-32] [--seed 0]

`--tokenizer` is a folder with a CLIP `tokenizer.json` (49,408 tokens); it is copied beside the
weights, so that `ClipBackbone::from_pretrained` and `transformers` open the same folder.
Speed does not depend on the weights' values: these are drawn with transformers' own initialisation.
Needs torch and transformers.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

TEXT = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 49407,
    "hidden_act": "quick_gelu",
}
VISION = {"image_size": 224, "hidden_act": "quick_gelu"}

# Shapes of openai/clip-vit-base-patch32 and wkcn/TinyCLIP-ViT-8M-16-Text-3M-YFCC15M, and one so
# small that a run over 100,000 images measures the pipeline and not the model.
SIZES = {
    "vit-b-32": {
        "projection": 512,
        "text": {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8},
        "vision": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "patch_size": 32},
    },
    "tinyclip": {
        "projection": 512,
        "text": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 3, "num_attention_heads": 4},
        "vision": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 10, "num_attention_heads": 4, "patch_size": 16},
    },
    "width-32": {
        "projection": 32,
        "text": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
        "vision": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 32, "image_size": 32},
    },
}


def preprocessor(size):
    """CLIP's image settings at `size` pixels, as `preprocessor_config.json` spells them."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
    }


def write(name, shape, tokenizer, out, seed):
    """One checkpoint in the Hugging Face layout."""
    torch.manual_seed(seed)
    vision = {**VISION, **shape["vision"]}
    config = CLIPConfig(
        text_config={**TEXT, **shape["text"], "projection_dim": shape["projection"]},
        vision_config={**vision, "projection_dim": shape["projection"]},
        projection_dim=shape["projection"],
    )
    model = CLIPModel(config).eval()
    folder = Path(out) / name
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, safe_serialization=True, max_shard_size="50GB")
    settings = json.dumps(preprocessor(vision["image_size"]), indent=2)
    (folder / "preprocessor_config.json").write_text(settings + "\n")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        source = Path(tokenizer) / file
        if source.exists():
            shutil.copyfile(source, folder / file)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{folder}: {parameters / 1e6:.1f} M parameters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", required=True, help="folder with a CLIP tokenizer.json")
    parser.add_argument("--out", default="models")
    parser.add_argument("--only", choices=sorted(SIZES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, shape in SIZES.items():
        if arguments.only in (None, name):
            write(name, shape, arguments.tokenizer, arguments.out, arguments.seed)


if __name__ == "__main__":
    main()

"""Tiny golden CLIP models, made by the reference libraries, for testing the Rust towers.

Writes, beside itself: `images/`, `images.json` and five model folders, each with weights, configs, a
tokenizer, `texts.json` and `expected.safetensors` (what the reference computes in f32 from the weights
as they were stored). Everything is random-initialised from fixed seeds; nothing is downloaded, and a
second run writes the same bytes.

    pip install torch==2.9.0 torchvision==0.24.0 transformers==5.23.0 open_clip_torch==3.3.0 \
        tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0
    python export.py

Images are opened with `.convert("RGB")` (alpha dropped, not composited), then go through the layout's own
preprocessing: transformers' image processor for Hugging Face, `image_transform_v2` for open_clip. These differ
in the centre crop: floor((long - s) / 2) there, round-half-even((long - s) / 2) here. transformers resizes with
torchvision's arithmetic unless preprocessor_config.json names `CLIPImageProcessorPil`; `hf_gelu_patch14` does.

Where the pixels would be large, `pixel_levels` holds their 8 bits in place of `pixel_values`.
"""
import gzip
import json
import math
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

ROOT = Path(__file__).resolve().parent
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
TEXTS = [
    "a photo of a cat.",
    "A PHOTO of  two   Dogs!",
    "naïve café — cafe\u0301 ÉCOLE",
    "東京 🦀 a crab 👩‍🚀",
    "",
    "a long caption of a forest and a river, " * 12,
    "don't stop, it's 3.14% of 1,000 (#42)!",
    "  tabs\tand\nnew lines of a satellite photo  ",
]
CORPUS = """a photo of a cat. a photo of a dog. a bad photo of the dogs. a centered satellite photo of permanent
crop land. a long caption of a forest and a river. the river and the forest near the station. don't stop, it's a
photo of naïve café. a sketch of two cats and a crab on the sand, a painting of the port in the evening."""
MERGES = 40


def build_vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A byte-level BPE in CLIP's order: bytes, bytes with `</w>`, merges, start of text, end of text."""
    alphabet = bytes_to_unicode()
    words = Counter(CORPUS.lower().replace(",", " ,").replace(".", " .").split())
    split = {w: [alphabet[b] for b in w.encode()[:-1]] + [alphabet[w.encode()[-1]] + "</w>"] for w in words}
    tokens = [*alphabet.values(), *(a + "</w>" for a in alphabet.values())]
    merges = []
    while len(merges) < MERGES:
        pairs = Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        best = min((p for p in pairs if "".join(p) not in tokens), key=lambda p: (-pairs[p], p))
        merges.append(best)
        tokens.append("".join(best))
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = ["".join(best)]
                i += 1
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}, merges


VOCAB, MERGE_LIST = build_vocabulary()
SOT, EOT = len(VOCAB) - 2, len(VOCAB) - 1


def hf_tokenizer(folder: Path, context: int) -> CLIPTokenizer:
    tokenizer = CLIPTokenizer(vocab=VOCAB, merges=MERGE_LIST, model_max_length=context)
    tokenizer.save_pretrained(folder)
    return tokenizer


def open_clip_ids(context: int) -> torch.Tensor:
    """What open_clip's own tokenizer makes of the texts with our merges: padded with 0."""
    with tempfile.NamedTemporaryFile(suffix=".txt.gz") as file:
        lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGE_LIST)]
        Path(file.name).write_bytes(gzip.compress("\n".join(lines).encode()))
        return SimpleTokenizer(file.name, context_length=context)(TEXTS)


def draw_images() -> list[Image.Image]:
    def shapes(width: int, height: int, channels: int) -> np.ndarray:
        y, x = np.mgrid[0:height, 0:width]
        waves = [127 + 90 * np.sin(x / (5.0 + 2 * c) + c) * np.cos(y / (7.0 - c)) for c in range(channels)]
        image = (np.stack(waves, -1) // 8 * 8).astype(np.uint8)
        image[height // 5 : height // 2, width // 6 : width // 3] = [250, 30, 60, 90][:channels]
        image[(x - 0.6 * width) ** 2 + (y - 0.6 * height) ** 2 < (0.2 * height) ** 2] = [10, 200, 90, 128][:channels]
        image[(x + y) % 17 == 0] = [240, 240, 20, 255][:channels]
        return image

    folder = ROOT / "images"
    folder.mkdir(exist_ok=True)
    drawn = {  # no side equals a model's input size
        "alpha.png": Image.fromarray(shapes(97, 83, 4)),  # RGBA
        "tall_grey.png": Image.fromarray(shapes(45, 70, 1)[..., 0]),  # L, smaller than most models' input
        "wide.png": Image.fromarray(shapes(121, 81, 3)),  # an odd number of columns to crop
    }
    for name, image in drawn.items():
        image.save(folder / name)
    (ROOT / "images.json").write_text(json.dumps(sorted(drawn)) + "\n")
    return [Image.open(folder / name) for name in sorted(drawn)]


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights large enough for a wrong activation, norm or head count to show in the embeddings."""
    rng = np.random.default_rng(seed)
    state = model.state_dict()
    for name in sorted(state):
        shape = tuple(state[name].shape)
        if not state[name].is_floating_point() or "running" in name:
            continue
        noise = rng.standard_normal(shape)
        if name == "logit_scale":
            value = np.asarray(math.log(100.0))
        elif "embedding" in name and "patch" not in name:
            value = 0.5 * noise
        elif len(shape) > 1:
            value = 1.2 * noise / math.sqrt(math.prod(shape[1:]))
        elif name.endswith("weight"):
            value = 1.0 + 0.25 * noise  # a norm's scale
        else:
            value = 0.2 * noise  # a bias
        state[name] = torch.from_numpy(value.astype(np.float32))
    model.load_state_dict(state)


def settle_batch_norms(visual: torch.nn.Module, pixels: torch.Tensor, seed: int) -> None:
    """Running statistics of real activations, then moved: all channels live, and a wrong batch norm shows."""
    rng = np.random.default_rng(seed)
    norms = [m for m in visual.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    visual.train()(pixels)
    visual.eval()
    for norm in norms:
        norm.running_var.clamp_(min=0.05)
        noise = torch.from_numpy(rng.uniform(-1.0, 1.0, (2, norm.num_features)).astype(np.float32))
        norm.running_mean += 0.4 * noise[0] * norm.running_var.sqrt()
        norm.running_var *= torch.exp(0.5 * noise[1])


def save_expected(folder: Path, tensors: dict[str, torch.Tensor], logit_scale: torch.Tensor) -> None:
    image, text = (torch.nn.functional.normalize(tensors[k], dim=-1) for k in ("image_embeds", "text_embeds"))
    tensors["logits_per_image"] = logit_scale.exp() * image @ text.T
    assert all(torch.isfinite(t).all() for t in tensors.values())
    if tensors["pixel_values"].shape[-1] > 300:
        mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
        pixels = tensors.pop("pixel_values")
        levels = ((pixels * std + mean) * 255).round()
        assert torch.allclose((levels / 255 - mean) / std, pixels, atol=1e-6)
        tensors["pixel_levels"] = levels.to(torch.uint8)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    (folder / "texts.json").write_text(json.dumps(TEXTS, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


@torch.no_grad()
def export_hf(name: str, seed: int, images: list, vision: dict, text: dict, dim: int, old_style: bool) -> None:
    """`old_style`: f32 shards, `position_ids` among the weights and integer sizes, as older hub files have, resized
    by torchvision; otherwise one f16 file and today's preprocessor_config.json, resized by Pillow."""
    folder, size, context = ROOT / name, vision["image_size"], text["max_position_embeddings"]
    tokenizer = hf_tokenizer(folder, context)
    ids = dict(vocab_size=len(VOCAB), bos_token_id=SOT, eos_token_id=EOT, pad_token_id=EOT)
    model = CLIPModel(CLIPConfig(vision_config=vision, text_config=text | ids, projection_dim=dim)).eval()
    randomise(model, seed)
    if old_style:
        for part in (model.text_model.embeddings, model.vision_model.embeddings):
            part.register_buffer("position_ids", part.position_ids.clone(), persistent=True)
        model.save_pretrained(folder, max_shard_size="98KB")
        preprocess = dict(feature_extractor_type="CLIPFeatureExtractor", crop_size=size, size=size)
    else:
        model.half().save_pretrained(folder)
        preprocess = dict(image_processor_type="CLIPImageProcessorPil", crop_size=dict(height=size, width=size))
        preprocess |= dict(size=dict(shortest_edge=size), do_convert_rgb=True, do_rescale=True, rescale_factor=1 / 255)
    preprocess |= dict(do_resize=True, resample=3, do_center_crop=True, do_normalize=True)
    write_json(folder / "preprocessor_config.json", preprocess | dict(image_mean=CLIP_MEAN, image_std=CLIP_STD))

    model = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    processor = (CLIPImageProcessor if old_style else CLIPImageProcessorPil).from_pretrained(folder)
    pixels = processor([i.convert("RGB") for i in images], return_tensors="pt")["pixel_values"]
    tokens = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=context, return_tensors="pt")
    embedded = model.vision_model.pre_layrnorm(model.vision_model.embeddings(pixels))
    vision_hidden = model.vision_model(pixel_values=pixels).pooler_output
    text_hidden = model.text_model(**tokens).pooler_output
    unmasked = model.text_model(input_ids=tokens["input_ids"]).pooler_output
    assert torch.allclose(text_hidden, unmasked, atol=1e-5), "padding must not reach the pooled token"
    expected = dict(pixel_values=pixels, input_ids=tokens["input_ids"], vision_embedded=embedded)
    expected |= dict(vision_hidden=vision_hidden, image_embeds=model.visual_projection(vision_hidden))
    expected |= dict(text_hidden=text_hidden, text_embeds=model.text_projection(text_hidden))
    save_expected(folder, expected, model.logit_scale)
    logits = model(**tokens, pixel_values=pixels).logits_per_image
    assert torch.allclose(logits, expected["logits_per_image"], atol=1e-3)


@torch.no_grad()
def export_open_clip(name: str, seed: int, images: list, model_cfg: dict, preprocess_cfg: dict, dtype) -> None:
    folder, context = ROOT / name, model_cfg["text_cfg"]["context_length"]
    tokenizer = hf_tokenizer(folder, context)
    write_json(folder / "open_clip_config.json", dict(model_cfg=model_cfg, preprocess_cfg=preprocess_cfg))
    model = open_clip.CLIP(**json.loads(json.dumps(model_cfg))).eval()
    randomise(model, seed)
    size = model_cfg["vision_cfg"]["image_size"]
    preprocess = image_transform_v2(PreprocessCfg(size, **preprocess_cfg), is_train=False)
    pixels = torch.stack([preprocess(i.convert("RGB")) for i in images])
    if hasattr(model.visual, "attnpool"):
        settle_batch_norms(model.visual, pixels, seed)
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
    save_file(stored, folder / "open_clip_model.safetensors", metadata={"format": "pt"})

    model = open_clip.create_model(f"local-dir:{folder}", precision="fp32").eval()
    visual, ids = model.visual, open_clip_ids(context)
    same = tokenizer(TEXTS, truncation=True, max_length=context)["input_ids"]  # unpadded
    assert [row + [0] * (context - len(row)) for row in same] == ids.tolist(), "tokenizers disagree"
    expected = dict(pixel_values=pixels, input_ids=ids)
    expected |= dict(image_embeds=model.encode_image(pixels), text_embeds=model.encode_text(ids))
    text_projection, model.text_projection = model.text_projection, None
    expected["text_hidden"] = model.encode_text(ids)
    if hasattr(visual, "attnpool"):
        expected["vision_stem"] = visual.stem(pixels)
        trunk = visual.layer4(visual.layer3(visual.layer2(visual.layer1(expected["vision_stem"]))))
        project, width = visual.attnpool.c_proj, visual.attnpool.c_proj.in_features
        visual.attnpool.c_proj = identity = torch.nn.Linear(width, width)
        identity.load_state_dict(dict(weight=torch.eye(width), bias=torch.zeros(width)))
        expected |= dict(vision_trunk=trunk, vision_hidden=visual.attnpool(trunk))
        again = project(expected["vision_hidden"])
    else:
        expected["vision_embedded"] = visual._embeds(pixels)
        expected["vision_hidden"] = visual.ln_post(visual.transformer(expected["vision_embedded"]))[:, 0]
        expected["pixel_values_rgba"] = preprocess(images[0])[None]  # what open_clip makes of the raw RGBA file
        again = expected["vision_hidden"] @ visual.proj
    assert torch.allclose(again, expected["image_embeds"], atol=1e-4)
    assert torch.allclose(expected["text_hidden"] @ text_projection, expected["text_embeds"], atol=1e-4)
    save_expected(folder, expected, model.logit_scale)


def main() -> None:
    torch.set_num_threads(1)
    images = draw_images()
    for name in ("hf_gelu_patch14", "hf_sharded", "hf_336", "openclip_vit", "openclip_resnet"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
        (ROOT / name).mkdir()

    def tower(act: str, width: int, heads: int, mlp: int, eps: float) -> dict:
        shape = dict(hidden_size=width, num_attention_heads=heads, intermediate_size=mlp, num_hidden_layers=2)
        return shape | dict(hidden_act=act, layer_norm_eps=eps)

    vision = tower("gelu", 48, 4, 72, eps=1e-5) | dict(image_size=56, patch_size=14)
    text = tower("gelu", 32, 4, 48, eps=1e-5) | dict(max_position_embeddings=77)
    export_hf("hf_gelu_patch14", 1, images, vision, text, 24, old_style=False)
    vision = tower("quick_gelu", 24, 3, 64, eps=1e-3) | dict(image_size=60, patch_size=12)
    text = tower("quick_gelu", 16, 2, 48, eps=1e-3) | dict(max_position_embeddings=16)
    export_hf("hf_sharded", 2, images, vision, text, 20, old_style=True)
    vision = tower("quick_gelu", 16, 2, 32, eps=1e-5) | dict(image_size=336, patch_size=14)
    export_hf("hf_336", 4, images[:1], vision, text, 20, old_style=True)

    text = dict(context_length=32, vocab_size=len(VOCAB), width=16, heads=4, layers=2)
    vision = dict(image_size=32, layers=2, width=32, head_width=16, mlp_ratio=2.7, patch_size=8)
    half = dict(mean=[0.5] * 3, std=[0.5] * 3, interpolation="bicubic", resize_mode="shortest")
    cfg = dict(embed_dim=24, vision_cfg=vision, text_cfg=text)
    export_open_clip("openclip_vit", 3, images, cfg, half, torch.bfloat16)
    text = dict(context_length=77, vocab_size=len(VOCAB), width=16, heads=2, layers=1)
    vision = dict(image_size=64, layers=[1, 2, 1, 1], width=2, head_width=16, patch_size=None)
    cfg = dict(embed_dim=24, quick_gelu=True, vision_cfg=vision, text_cfg=text)
    export_open_clip("openclip_resnet", 18, images, cfg, dict(mean=CLIP_MEAN, std=CLIP_STD), torch.float32)


if __name__ == "__main__":
    main()

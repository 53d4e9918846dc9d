"""Folder to features in PyTorch: a DataLoader with worker processes and open_clip, the peer of `extract_features`.

The image tower has the size of TinyCLIP-ViT-8M-16, or of ViT-B/32 with `--tower vit-b-32`, and random weights; the pictures are JPEGs of about 600 pixels,
varied from one photo. Every one is decoded, resized, encoded and normalised; only that is timed, workers' start
included, as a user waits for it. The pictures stay where they are written, for the other side:

    pip install torch==2.9.0 torchvision==0.24.0 open_clip_torch==3.3.0 pillow
    python benches/peers/make_models.py --tokenizer a-clip-folder --out models --only tinyclip
    python benches/peers/extract_torch.py --photo photo.jpg --pictures pictures
    cargo run --release --example extract_features -- --backbone models/tinyclip --images pictures --out f.safetensors
"""

import argparse
import time
from pathlib import Path

import open_clip
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageEnhance

SIDE = 600


TOWERS = {
    "tinyclip": {"layers": 10, "width": 256, "patch_size": 16},
    "vit-b-32": {"layers": 12, "width": 768, "patch_size": 32},
}


def tower(name):
    """An image tower with random weights, and a text tower that nothing asks."""
    torch.manual_seed(0)
    return open_clip.CLIP(
        embed_dim=512,
        vision_cfg=CLIPVisionCfg(image_size=224, head_width=64, **TOWERS[name]),
        text_cfg=CLIPTextCfg(context_length=77, vocab_size=49408, width=256, heads=4, layers=3),
        quick_gelu=True,
    ).eval()


def write_pictures(photo, folder, count):
    """`count` JPEGs, no two alike, short side 600 pixels and a little more on the long one."""
    folder = Path(folder) / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    source = Image.open(photo).convert("RGB")
    for index in range(count):
        path = folder / f"{index:05}.jpg"
        if path.exists():
            continue
        width = SIDE + 10 * (index % 20)
        picture = source.resize((width, SIDE + 10 * (index // 20 % 20)), Image.Resampling.BICUBIC)
        picture = ImageEnhance.Brightness(picture).enhance(0.7 + 0.6 * (index % 97) / 97)
        picture.save(path, quality=90)
    return sorted(folder.glob("*.jpg"))[:count]


class Pictures(torch.utils.data.Dataset):
    def __init__(self, files, transform):
        self.files = files
        self.transform = transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.transform(Image.open(self.files[index]))


@torch.inference_mode()
def extract(model, files, batch, workers):
    transform = image_transform_v2(PreprocessCfg(size=224), is_train=False)
    loader = torch.utils.data.DataLoader(Pictures(files, transform), batch_size=batch, num_workers=workers)
    rows = [model.encode_image(pixels, normalize=True) for pixels in loader]
    return torch.cat(rows).numpy()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", required=True, help="the JPEG that the pictures are varied from")
    parser.add_argument("--pictures", default="pictures", help="folder for the pictures")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tower", choices=sorted(TOWERS), default="tinyclip")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    files = write_pictures(arguments.photo, arguments.pictures, arguments.count)
    model = tower(arguments.tower)
    extract(model, files[: arguments.batch], arguments.batch, 0)  # what the first call sets up is not timed
    for _ in range(arguments.repeats):
        start = time.perf_counter()
        rows = extract(model, files, arguments.batch, arguments.workers)
        seconds = time.perf_counter() - start
        print(f"{len(rows)} images in {seconds:.2f} s: {len(rows) / seconds:.1f} images/s")


if __name__ == "__main__":
    main()

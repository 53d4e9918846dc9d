"""What transformers makes of other preparations of one image, as lines for `tests/suite/configurations.rs`.

Each changes keys of the `preprocessor_config.json` of `hf_sharded`; printed are a few values of `images/wide.png`. Then
comes what `CLIPProcessor.save_pretrained` writes, which is `processor_config.json` alone. Nothing is downloaded.

    pip install torch==2.15.0 torchvision==0.29.2 transformers==5.24.0 pillow==13.0.0
    python export_configurations.py
"""
import json
import tempfile
from pathlib import Path

from PIL import Image
from transformers import CLIPImageProcessor, CLIPProcessor, CLIPTokenizer

ROOT = Path(__file__).resolve().parent
MODEL, SIDE = ROOT / "hf_sharded", 60
PLACES = [(0, 0, 0), (0, 29, 41), (1, 30, 30), (2, 59, 7), (2, 12, 58)]  # channel, row, column
CHANGES = [
    {},
    {"size": {"height": SIDE, "width": SIDE}},
    {"size": [70, 70]},
    {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False},
    {"do_normalize": False},
    {"rescale_factor": 1 / 127.5},
    {"do_rescale": False},
    {"do_rescale": False, "do_normalize": False},
    {"image_mean": 0.5, "image_std": 0.25},
]


def main() -> None:
    image = Image.open(ROOT / "images" / "wide.png").convert("RGB")
    base = json.loads((MODEL / "preprocessor_config.json").read_text())
    for change in CHANGES:
        pixels = CLIPImageProcessor(**(base | change))(image, return_tensors="pt")["pixel_values"][0].float()
        assert pixels.shape == (3, SIDE, SIDE)
        values = ", ".join(f"{pixels[place].item():.6}" for place in PLACES)
        print(f"(json!({json.dumps(change)}), [{values}]),")
    with tempfile.TemporaryDirectory() as folder:
        processor = CLIPProcessor(CLIPImageProcessor(**base), CLIPTokenizer.from_pretrained(MODEL))
        processor.save_pretrained(folder)
        files = {path.name for path in Path(folder).iterdir()}
        assert files == {"processor_config.json", "tokenizer.json", "tokenizer_config.json"}, files
        print((Path(folder) / "processor_config.json").read_text())


if __name__ == "__main__":
    main()

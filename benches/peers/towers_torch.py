"""The towers of a checkpoint in PyTorch with transformers, to compare with `flex/encode` of benches/bench.rs.

    pip install torch==2.9.0 transformers
    python benches/peers/make_models.py --tokenizer FOLDER --out models
    python benches/peers/towers_torch.py models/vit-b-32
"""
import argparse
import statistics
import time

import torch
from transformers import CLIPModel, PreTrainedTokenizerFast


def timed(work, repeats):
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a checkpoint folder in the Hugging Face layout")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    model = CLIPModel.from_pretrained(arguments.model).eval()
    side = model.config.vision_config.image_size
    pixels = torch.ones(16, 3, side, side)
    seconds = timed(lambda: model.get_image_features(pixel_values=pixels), arguments.repeats)
    print(f"images: {16 / seconds:.2f} a second, batches of 16")

    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{arguments.model}/tokenizer.json", pad_token="<|endoftext|>")
    texts = [f"a photo of a thing of kind {index}." for index in range(1000)]

    def encode():
        for start in range(0, len(texts), 64):
            tokens = tokenizer(texts[start : start + 64], padding=True, return_tensors="pt")
            model.get_text_features(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])

    seconds = timed(encode, arguments.repeats)
    print(f"texts: {1000 / seconds:.1f} a second, batches of 64 padded to their longest")


main()

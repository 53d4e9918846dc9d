"""CLIP's image tower in PyTorch, the peer of `compare_devices --size vit-b-32`.

The same work: random weights, random pixels, the same sizes, and every batch's embeddings read back.
Run both on an otherwise idle machine, one right after the other:

    python benches/peers/encode_torch.py --device cuda --batch 256 --precision f16
"""

import argparse
import time

import torch
import torch.nn.functional as F

SIZES = {  # width, layers, heads, image, patch, embedding
    "vit-b-32": (768, 12, 12, 224, 32, 512),
    "vit-b-16": (768, 12, 12, 224, 16, 512),
    "vit-l-14": (1024, 24, 16, 224, 14, 768),
}
PRECISIONS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


class Block(torch.nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.fc1, self.fc2 = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        mixed = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        hidden = self.fc1(self.norm2(x))
        return x + self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class Tower(torch.nn.Module):
    def __init__(self, width, layers, heads, image, patch, dim):
        super().__init__()
        self.patches = torch.nn.Conv2d(3, width, patch, patch, bias=False)
        self.token = torch.nn.Parameter(torch.randn(width))
        self.position = torch.nn.Parameter(torch.randn((image // patch) ** 2 + 1, width))
        self.before, self.after = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.blocks = torch.nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.projection = torch.nn.Linear(width, dim, bias=False)

    def forward(self, pixels):
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), 1, -1), x], 1) + self.position
        return self.projection(self.after(self.blocks(self.before(x))[:, 0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", choices=SIZES, default="vit-b-32")
    parser.add_argument("--precision", choices=PRECISIONS, default="f32")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--tf32", action="store_true", help="let f32 products round to TF32")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high" if args.tf32 else "highest")
    dtype = PRECISIONS[args.precision]
    tower = Tower(*SIZES[args.size]).eval().to(args.device, dtype)
    pixels = torch.rand(args.batch, 3, 224, 224).to(args.device) * 4 - 2
    with torch.inference_mode():
        encode = lambda: tower(pixels.to(dtype)).float().cpu()
        encode()
        encode()
        start = time.perf_counter()
        for _ in range(args.batches):
            encode()
        seconds = time.perf_counter() - start
    where = torch.cuda.get_device_name() if args.device == "cuda" else f"{torch.get_num_threads()} threads"
    rate = args.batch * args.batches / seconds
    tf32 = ", TF32" if args.tf32 else ""
    work = f"{args.size}, {args.precision}{tf32}, batches of {args.batch}"
    print(f"torch {torch.__version__}, {where}, {work}: {rate:.1f} images/s")


if __name__ == "__main__":
    main()

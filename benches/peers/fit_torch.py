"""CLIP-Adapter's 16-shot training loop in PyTorch, the peer of the `fit/clip-adapter` bench.

The same work as `cargo bench --bench bench -- fit/clip-adapter`: 304 random unit features of
width 512, 19 classes, batches of 32, 200 epochs (2,000 steps), SGD with momentum and weight decay.
Only the loop is timed. Run both on an otherwise idle machine, one right after the other:

    pip install torch==2.9.0
    python benches/peers/fit_torch.py
"""

import argparse
import time

import torch
import torch.nn.functional as F


def fit(x, y, w, ratio, epochs, batch):
    dim = x.shape[1]
    net = torch.nn.Sequential(
        torch.nn.Linear(dim, dim // 4, bias=False),
        torch.nn.ReLU(),
        torch.nn.Linear(dim // 4, dim, bias=False),
        torch.nn.ReLU(),
    )
    optimiser = torch.optim.SGD(net.parameters(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            f = x[rows]
            f = F.normalize(ratio * net(f) + (1 - ratio) * f, dim=1)
            loss = F.cross_entropy(100 * f @ w.T, y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        scheduler.step()
    return loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="timed fits after one warm-up")
    parser.add_argument("--epochs", type=int, default=200)
    args = parser.parse_args()
    torch.manual_seed(0)
    x = F.normalize(torch.randn(304, 512), dim=1)
    y = torch.arange(304) % 19
    w = F.normalize(torch.randn(19, 512), dim=1)
    seconds = []
    for run in range(args.runs + 1):
        start = time.perf_counter()
        fit(x, y, w, 0.2, args.epochs, 32)
        if run:
            seconds.append(time.perf_counter() - start)
    seconds.sort()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"fit: median {seconds[len(seconds) // 2]:.3f} s, min {seconds[0]:.3f} s, max {seconds[-1]:.3f} s")


main()

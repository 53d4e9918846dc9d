"""Exact search in NumPy, the peer of `cargo bench --bench bench -- search`.

The product alone, of f32 rows, and with the ten best of each query. Run both on an otherwise idle machine, in turn:

    OPENBLAS_NUM_THREADS=2 python benches/peers/search_numpy.py --rows 1000000
    CLIP_ADAPTER_ROWS=1000000 RAYON_NUM_THREADS=2 cargo bench --bench bench -- search
"""

import argparse
import time

import numpy as np

DIM = 512


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    random = np.random.default_rng(5)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    gallery = random.random((args.rows, DIM), dtype=np.float32)
    gallery -= 0.5
    gallery *= 2 * (3 / DIM) ** 0.5  # rows of about unit length
    queries = unit(random.uniform(-1, 1, (args.queries, DIM)).astype(np.float32))
    products, searches = [], []
    for _ in range(args.rounds):
        start = time.perf_counter()
        scores = queries @ gallery.T
        products.append(time.perf_counter() - start)
        best = np.argpartition(-scores, args.top, axis=1)[:, : args.top]
        np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), 1), 1)
        searches.append(time.perf_counter() - start)
    work = f"{args.queries} queries, {args.rows} x {DIM} f32"
    times = lambda seconds: f"{min(seconds):.3f} s (median {np.median(seconds):.3f})"
    print(f"numpy {np.__version__}, {work}: product {times(products)}, with the top {args.top} {times(searches)}")


if __name__ == "__main__":
    main()

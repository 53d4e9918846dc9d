"""What `implicit` (PyPI) takes for the same table of choices: BPR, ALS and item-item cosines, by users and items alone.

    pip install implicit
    python recommend_implicit.py clicks.csv --make 100000 100000    # made-up users, who are called so
    python recommend_implicit.py clicks.csv --method bpr --scored 2000

Prints HR@10 and NDCG@10 of the last choice of each scored user among all that the user has not seen, as the example
`recommend` does, seconds of the processor and the most memory held.
"""

import argparse
import csv
import resource
import time

import numpy as np
from implicit.als import AlternatingLeastSquares
from implicit.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import CosineRecommender
from scipy.sparse import csr_matrix


def make(path, users, items, choices=20, groups=200, seed=1):
    """Made-up users of 20 choices: of three groups of items four times of five, by popularity the rest."""
    random = np.random.default_rng(seed)
    weight = 1 / (1 + random.permutation(items)) ** 0.7
    group = random.integers(0, groups, items)
    of_group = [np.flatnonzero(group == at) for at in range(groups)]
    shares = [np.cumsum(weight[of]) / weight[of].sum() for of in of_group]
    share = np.cumsum(weight) / weight.sum()
    with open(path, "w") as table:
        table.write("user,item,timestamp\n")
        for user in range(users):
            liked, chosen = random.integers(0, groups, 3), {}
            while len(chosen) < choices:
                of = liked[random.integers(3)]
                if random.random() < 0.8:
                    item = of_group[of][np.searchsorted(shares[of], random.random())]
                else:
                    item = np.searchsorted(share, random.random())
                chosen[min(item, items - 1)] = None
            table.writelines(f"u{user},i{item},{at}\n" for at, item in enumerate(chosen))


def read(path):
    users, items, rows = {}, {}, []
    with open(path) as table:
        for row in csv.DictReader(table):
            user, item = users.setdefault(row["user"], len(users)), items.setdefault(row["item"], len(items))
            rows.append((float(row["timestamp"]), user, item))
    rows.sort(key=lambda row: row[0])
    histories = [[] for _ in users]
    for _, user, item in rows:
        histories[user].append(item)
    return histories, len(items)


def model_of(arguments):
    shared = dict(iterations=arguments.epochs, num_threads=arguments.threads, random_state=1, use_gpu=False)
    if arguments.method == "bpr":
        return BayesianPersonalizedRanking(
            factors=arguments.factors, learning_rate=arguments.rate, regularization=arguments.pull, **shared
        )
    if arguments.method == "als":
        return AlternatingLeastSquares(factors=arguments.factors, **shared)
    return CosineRecommender(K=100, num_threads=arguments.threads)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("table")
    arguments.add_argument("--make", type=int, nargs=2, metavar=("USERS", "ITEMS"))
    arguments.add_argument("--method", choices=["bpr", "als", "cosine"], default="bpr")
    arguments.add_argument("--factors", type=int, default=32)
    arguments.add_argument("--epochs", type=int, default=40)
    arguments.add_argument("--rate", type=float, default=0.05)
    arguments.add_argument("--pull", type=float, default=1e-4)
    arguments.add_argument("--scored", type=int, default=2000)
    arguments.add_argument("--threads", type=int, default=1)
    arguments = arguments.parse_args()
    if arguments.make:
        return make(arguments.table, *arguments.make)
    histories, items = read(arguments.table)
    last = [history.pop() if len(history) > 1 else None for history in histories]
    pairs = [(user, item) for user, history in enumerate(histories) for item in history]
    users, chosen = np.array(pairs).T
    choices = csr_matrix((np.ones(len(users), np.float32), (users, chosen)), (len(histories), items))
    start, model = time.process_time(), model_of(arguments)
    model.fit(choices, show_progress=False)
    fitted = time.process_time() - start
    step = -(-len(histories) // arguments.scored)
    scored = [user for user in range(0, len(histories), step) if last[user] is not None]
    start, hits, gain = time.process_time(), 0, 0.0
    for user in scored:
        if arguments.method == "cosine":
            scores = np.asarray((choices[user] @ model.similarity).todense()).ravel()
        else:
            scores = model.item_factors @ model.user_factors[user]
        scores[histories[user]] = -np.inf
        own = scores[last[user]]
        place = (scores > own).sum() + ((scores == own).sum() - 1) / 2
        hits += place < 10
        gain += 1 / np.log2(place + 2) if place < 10 else 0
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{arguments.method}: {len(histories)} users, {items} items: fitted in {fitted:.1f} s, {len(scored)} lists in"
          f" {time.process_time() - start:.1f} s, HR@10 {100 * hits / len(scored):.2f} NDCG@10 {100 * gain / len(scored):.2f},"
          f" {held:.1f} GB")


if __name__ == "__main__":
    main()

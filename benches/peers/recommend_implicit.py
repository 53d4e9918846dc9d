"""What `implicit` (PyPI) takes for the same table of choices: BPR by users and items alone, and a list for each scored user.

    pip install implicit
    python recommend_implicit.py clicks.csv --factors 32 --epochs 40 --scored 2000

Prints HR@10 and NDCG@10 of the last choice of each scored user among all that the user has not seen, as the example
`recommend` does, and seconds.
"""

import argparse
import csv
import time

import numpy as np
from implicit.bpr import BayesianPersonalizedRanking
from scipy.sparse import csr_matrix


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


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("table")
    arguments.add_argument("--factors", type=int, default=32)
    arguments.add_argument("--epochs", type=int, default=40)
    arguments.add_argument("--rate", type=float, default=0.05)
    arguments.add_argument("--scored", type=int, default=2000)
    arguments.add_argument("--threads", type=int, default=1)
    arguments = arguments.parse_args()
    histories, items = read(arguments.table)
    last = [history.pop() if len(history) > 1 else None for history in histories]
    pairs = [(user, item) for user, history in enumerate(histories) for item in history]
    users, chosen = np.array(pairs).T
    choices = csr_matrix((np.ones(len(users), np.float32), (users, chosen)), (len(histories), items))
    start = time.time()
    model = BayesianPersonalizedRanking(
        factors=arguments.factors, learning_rate=arguments.rate, regularization=1e-4, iterations=arguments.epochs,
        num_threads=arguments.threads, random_state=1, use_gpu=False,
    )
    model.fit(choices, show_progress=False)
    fitted = time.time() - start
    step = -(-len(histories) // arguments.scored)
    scored = [user for user in range(0, len(histories), step) if last[user] is not None]
    start, hits, gain = time.time(), 0, 0.0
    for user in scored:
        scores = model.item_factors @ model.user_factors[user]
        scores[histories[user]] = -np.inf
        own = scores[last[user]]
        place = (scores > own).sum() + ((scores == own).sum() - 1) / 2
        hits += place < 10
        gain += 1 / np.log2(place + 2) if place < 10 else 0
    print(f"{len(histories)} users, {items} items: fitted in {fitted:.1f} s, {len(scored)} lists in {time.time() - start:.1f} s,"
          f" HR@10 {100 * hits / len(scored):.2f} NDCG@10 {100 * gain / len(scored):.2f}")


if __name__ == "__main__":
    main()

"""The same number of candidates for every query: precision and recall over ten splits.

For each split (120 queries, 2 % of the rest as training set) and one draw of every method, each
query gets the N items that are nearest by Hamming distance, in plain and in query-directed order,
which are then re-ranked by exact cosine. Differences to LSH are paired by split; intervals are t
intervals over the splits, so they cover the choice of queries, training set and draw. The table
goes to results/budget_<dataset>.csv.

    python -m benchmarks.budget
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats
from tqdm import tqdm

from grh_helpers import GRH, ITQ, LSH, Dataset, budget_sweep, load_dataset, mean_average_precision
from grh_helpers.checkpoints import results_file
from grh_helpers.experiment import encode
from grh_helpers.hashing import SVMs

METHODS = {
    "LSH": LSH,
    "ITQ": ITQ,
    "ITQ-CCA": lambda n_bits, **o: ITQ(n_bits, supervised=True, **o),
    "GRH svm": GRH,
    "GRH svm, no weights": lambda n_bits, **o: GRH(n_bits, learner=SVMs(class_weight=None), **o),
    "GRH kernel": lambda n_bits, **o: GRH(n_bits, learner="kernel", **o),
    "GRH kernel, from max-min": lambda n_bits, **o: GRH(
        n_bits, learner="kernel", init="max-min", **o
    ),
}
BUDGETS = (300, 1000)


def measure(data: Dataset, splits: int = 10, n_bits: int = 16) -> pd.DataFrame:
    """Return one row per split, method, order and budget."""
    rows = []
    for seed in tqdm(range(splits), disable=None):
        split = data.split(random_state=seed)
        for name, make in METHODS.items():
            hasher = make(n_bits, random_state=seed)
            codes = encode(hasher, split)
            ranking = mean_average_precision(*codes, split.query_labels, split.database_labels)
            for order in ("Hamming", "query-directed"):
                scores = hasher.decision_function(split.queries) if order != "Hamming" else None
                frame = budget_sweep(*codes, split, BUDGETS, scores=scores)
                means = frame.groupby("budget")[["precision", "recall"]].mean()
                for budget, (precision, recall) in means.iterrows():
                    rows.append((seed, name, order, budget, precision, recall, ranking))
    columns = ["split", "method", "order", "budget", "precision", "recall", "map"]
    return pd.DataFrame(rows, columns=columns)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over splits, and the paired difference to LSH in Hamming order with its interval."""
    keys, table = ["method", "order", "budget"], []
    plain = rows[(rows["method"] == "LSH") & (rows["order"] == "Hamming")]
    for key, part in rows.groupby(keys, sort=False):
        line = dict(zip(keys, key, strict=True))
        base = plain[plain["budget"] == line["budget"]]
        for measure in ("precision", "recall", "map"):
            line[measure] = part[measure].mean()
            gain = part[measure].to_numpy() - base[measure].to_numpy()
            half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
            names = (f"{measure}_gain", f"{measure}_low", f"{measure}_high")
            line |= dict(zip(names, gain.mean() + np.array([0, -half, half]), strict=True))
        table.append(line)
    return pd.DataFrame(table)


if __name__ == "__main__":
    data = load_dataset()
    table = summarise(measure(data)).round(4)
    print(table.to_string())
    table.to_csv(results_file(data.name).parent / f"budget_{data.name}.csv", index=False)

"""Choose GRH's defaults on a validation part of the training set; the queries are never touched.

Five folds of the training images: four train, and in the fifth every image in turn is a query
against the others of that fold. The measures are mean average precision of the Hamming ranking
(tie-aware) and the precision of the images in the query's own bucket (an empty bucket counts 0),
averaged over folds and draws of the hyperplanes.

    python -m benchmarks.choose_defaults
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC
from tqdm import tqdm

from grh_helpers import GRH, average_precision, load_dataset, pack_bits

SVM_GRID = {"alpha": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "n_iter": [1, 2, 3, 4]}
LEARNERS = {
    **{f"SVM C={c:g}": SVC(kernel="linear", C=c) for c in (0.1, 10)},
    **{f"ridge {a:g}": Ridge(alpha=a) for a in (0.1, 0.3, 1, 3, 10)},
    **{
        f"kernel ridge gamma={g:g} alpha={a:g}": KernelRidge(kernel="rbf", gamma=g, alpha=a)
        for g, a in itertools.product((1, 2, 4, 8), (0.03, 0.1, 0.3))
    },
}


def held_out_scores(hasher, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """mAP and own-bucket precision of every image against the others of its fold."""
    maps, buckets = [], []
    for train, rest in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        codes = hasher.fit(X[train], y[train]).transform(X[rest])
        labels, everyone = y[rest], np.arange(len(rest))
        keys = pack_bits(codes)
        for i in everyone:
            others = everyone != i
            maps.append(
                average_precision(codes[[i]], codes[others], labels[[i]], labels[others])[0]
            )
            near = (keys == keys[i]) & others
            buckets.append((labels[near] == labels[i]).mean() if near.any() else 0.0)
    return float(np.mean(maps)), float(np.mean(buckets))


def run(seeds: int = 3, n_bits: int = 16) -> pd.DataFrame:
    """Score every setting; one row each, best first."""
    split = load_dataset(progress=True).split()
    settings = [
        {"learner": "SVM C=1", "alpha": a, "n_iter": n}
        for a, n in itertools.product(*SVM_GRID.values())
    ] + [{"learner": name, "alpha": 1.0, "n_iter": 2} for name in LEARNERS]
    rows = []
    for setting in tqdm(settings, disable=None):
        scores = [
            held_out_scores(
                GRH(n_bits, **{**setting, "learner": LEARNERS.get(setting["learner"])},
                    random_state=seed),
                split.train, split.train_labels,
            )
            for seed in range(seeds)
        ]  # fmt: skip
        rows.append({**setting, **dict(zip(("map", "bucket"), np.mean(scores, axis=0)))})
    return pd.DataFrame(rows).sort_values("map", ascending=False, ignore_index=True)


if __name__ == "__main__":
    print(run().to_string(float_format="{:.3f}".format))

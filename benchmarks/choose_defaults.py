"""Choose GRH's defaults on a validation part of the training set; the queries are never touched.

Five folds of the training images: four train, and in the fifth each half queries the other. The
measures are mean average precision of the Hamming ranking (tie-aware), by which the settings are
ranked, and the share of the query's class among the images in its own bucket (an empty bucket
counts 0), averaged over folds and draws of the hyperplanes. The table goes to
results/defaults_<dataset>.csv.

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

from grh_helpers import GRH, Dataset, average_precision, load_dataset, precision_recall_curve
from grh_helpers.checkpoints import results_file

SVM_GRID = {"alpha": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0], "n_iter": [1, 2, 3, 4]}
LEARNERS = {
    "SVM C=1": "svm",
    **{f"SVM C={c:g}": SVC(kernel="linear", C=c) for c in (0.1, 10)},
    **{f"ridge {a:g}": Ridge(alpha=a) for a in (0.1, 0.3, 1, 3, 10)},
    **{
        f"kernel ridge gamma={g:g} alpha={a:g}": KernelRidge(kernel="rbf", gamma=g, alpha=a)
        for g, a in itertools.product((1, 2, 4, 8), (0.03, 0.1, 0.3))
    },
}


def held_out_scores(hasher, X: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return mAP and own-bucket precision, each half of a held-out fold against the other half."""
    maps, buckets = [], []
    for train, rest in StratifiedKFold(5, shuffle=True, random_state=0).split(X, y):
        codes, labels = hasher.fit(X[train], y[train]).transform(X[rest]), y[rest]
        for queries, database in (np.s_[::2], np.s_[1::2]), (np.s_[1::2], np.s_[::2]):
            sides = codes[queries], codes[database], labels[queries], labels[database]
            maps.append(np.nanmean(average_precision(*sides)))
            curve = precision_recall_curve(*sides)
            buckets.append(curve["precision"][0])
    return float(np.mean(maps)), float(np.mean(buckets))


def run(data: Dataset, seeds: int = 3, n_bits: int = 16) -> pd.DataFrame:
    """Score every setting; one row each, best first."""
    split = data.split()
    svm, *others = LEARNERS
    settings = [(svm, alpha, n_iter) for alpha, n_iter in itertools.product(*SVM_GRID.values())]
    settings += [(name, 1.0, n_iter) for name in others for n_iter in (1, 2)]
    rows = []
    for name, alpha, n_iter in tqdm(settings, disable=None):
        models = [GRH(n_bits, alpha, n_iter, LEARNERS[name], random_state=s) for s in range(seeds)]
        scores = [held_out_scores(model, split.train, split.train_labels) for model in models]
        rows.append((name, alpha, n_iter, *np.mean(scores, axis=0)))
    table = pd.DataFrame(rows, columns=["learner", "alpha", "n_iter", "map", "bucket"])
    return table.sort_values("map", ascending=False, ignore_index=True)


if __name__ == "__main__":
    data = load_dataset()
    table = run(data).round(4)
    print(table.to_string())
    table.to_csv(results_file(data.name).parent / f"defaults_{data.name}.csv", index=False)

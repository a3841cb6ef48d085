"""Small measurements behind the page docs/claims.md that no other table holds.

CIFAR-10, 16 bits unless it says otherwise. An interval is a 95 % t interval over splits or draws,
whichever `over` names; where there is only one value it has none. The table goes to
results/claims_<dataset>.csv.

"bucket": candidates at radius 0 of GRH svm, mean, median, and the share of all that the tenth of
    the queries with the largest buckets takes, with and without class weights.
"effective bits": -log2 P[two images of the database share a key], for LSH and for SVMs trained on
    its own bits (no graph) for one and for two rounds.
"support vectors": their share of the training images, and the share of them at the bound C, for
    SVMs trained on LSH's own bits and on the targets of GRH.
"spread": standard deviation over ten splits of the mean precision@10 of LSH, divided by the
    standard error that the queries of one split suggest.
"recall": recall@10 of the true neighbours with 1,913 candidates for every query, ten splits.
"oracle": mAP if the query's class is known and the database has predicted classes.
"draws": standard deviation of mAP over twelve draws of a code book, three splits.
"database": mAP of GRH kernel with 5,000 labels, training images in the database and out of it.
"keys": plug-in entropy of as many uniform keys of 16 bits as CIFAR-10 has images.
"memory": bytes per item of an index without vectors.

    python -m benchmarks.claims         # some five minutes
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.svm import SVC
from tqdm import tqdm

from benchmarks.codebooks import make_case, measure, smooth
from grh_helpers import (
    GRH,
    LSH,
    Dataset,
    HammingIndex,
    budget_sweep,
    load_dataset,
    mean_average_precision,
    pack_bits,
    radius_sweep,
)
from grh_helpers.checkpoints import results_file
from grh_helpers.datasets import atomic
from grh_helpers.experiment import encode
from grh_helpers.hashing import SVMs

BOOKS = ("majority of LSH bits (GRH)", "random class codes", "max-min")
Row = tuple[str, str, str, np.ndarray]  # claim, case, what the values are over, values


def buckets(data: Dataset, draws: int = 5) -> Iterator[Row]:
    """Measure who pays at radius 0."""
    split = data.split()
    for name, weight in {"weights": "balanced", "no weights": None}.items():
        found = []
        for seed in range(draws):
            grh = GRH(learner=SVMs(class_weight=weight), random_state=seed)
            query_codes, codes = encode(grh, split)
            sizes = np.sort(HammingIndex(codes).count(query_codes, 0))
            top = sizes[-len(sizes) // 10 :].sum() / sizes.sum()
            found.append((sizes.mean(), np.median(sizes), top))
        for what, values in zip(("mean", "median", "top tenth"), np.transpose(found), strict=True):
            yield "bucket", f"{name}, {what}", "draws", values


def effective_bits(data: Dataset, draws: int = 5) -> Iterator[Row]:
    """Count the ideal bits that would put two images into one bucket as often."""
    split = data.split()
    for rounds in (0, 1, 2):
        found = []
        for seed in range(draws):
            hasher = LSH(random_state=seed)
            if rounds:
                hasher = GRH(alpha=0, n_iter=rounds, regularise="current", random_state=seed)
            keys = pack_bits(encode(hasher, split)[1])
            sizes, n = np.unique(keys, return_counts=True)[1].astype(float), len(keys)
            found.append(-np.log2((sizes * (sizes - 1)).sum() / (n * (n - 1))))
        yield "effective bits", f"{rounds} rounds", "draws", np.array(found)


def support_vectors(data: Dataset, draws: int = 3) -> Iterator[Row]:
    """Measure how much of the training set decides a hyperplane, and how much is at the bound."""
    split = data.split()
    for name, hasher in {"no graph": LSH, "GRH": GRH}.items():
        found = []
        for seed in range(draws):
            fitted = hasher(random_state=seed).fit(split.train, split.train_labels)
            bits = fitted.transform(split.train) if name == "no graph" else fitted.train_bits_
            for target in bits.T:
                svm = SVC(kernel="linear", class_weight="balanced").fit(split.train, target)
                bound = svm.class_weight_[target[svm.support_].astype(int)]
                at_bound = np.abs(svm.dual_coef_[0]) >= 0.999 * bound
                found.append((len(bound) / len(target), at_bound.mean()))
        means = np.reshape(found, (draws, -1, 2)).mean(axis=1).T
        for what, values in zip(("share", "at the bound"), means, strict=True):
            yield "support vectors", f"{name}, {what}", "draws", values


def spread(data: Dataset, splits: int = 10) -> Iterator[Row]:
    """Compare the error that splits show with the one that the queries of a split suggest."""
    means, errors = [], []
    for seed in range(splits):
        split = data.split(random_state=seed)
        sweep = radius_sweep(*encode(LSH(random_state=seed), split), split, (2, 4), per_query=True)
        groups = sweep.groupby("radius")["precision"]
        means.append(groups.mean())
        errors.append(groups.sem())
    ratios = np.std(means, axis=0, ddof=1) / np.mean(errors, axis=0)
    for radius, ratio in zip((2, 4), ratios, strict=True):
        yield "spread", f"radius {radius}", "", np.array([ratio])


def recall(data: Dataset, splits: int = 10, budget: int = 1913) -> Iterator[Row]:
    """Count true neighbours among the same number of candidates."""
    for name, learner in {"LSH": "", "GRH svm": "svm", "GRH kernel": "kernel"}.items():
        found = []
        for seed in range(splits):
            split = data.split(random_state=seed)
            hasher = GRH(learner=learner, random_state=seed) if learner else LSH(random_state=seed)
            found.append(budget_sweep(*encode(hasher, split), split, [budget])["recall"].mean())
        yield "recall", name, "splits", np.array(found)


def limits(
    data: Dataset,
    splits: int = 3,
    draws: int = 12,
    n_queries: int = 1000,
    n_labels: tuple = (1000, 5000),
) -> Iterator[Row]:
    """Measure what a known query class would give, and how much a code book's draws vary."""
    spreads = []
    for n_train in n_labels:
        found = []
        for seed in range(splits):
            case = make_case(data, n_queries, n_train, seed)
            one = np.eye(case.n_classes, dtype=bool)
            (scores,) = smooth(case.train, one[case.members].astype(float), case.database)
            codes = one[case.query_labels], one[scores.argmax(axis=1)]
            labels = case.query_labels, case.database_labels
            found.append(mean_average_precision(*codes, *labels))
            if n_train == min(n_labels):
                rows = measure(case, BOOKS, {16: draws})
                frame = pd.DataFrame(rows, columns=["method", "n_bits", "draw", "map"])
                spreads.append(frame.groupby("method")["map"].std())
        yield "oracle", f"{n_train} labels", "splits", np.array(found)
    for name in BOOKS:
        yield "draws", name, "splits", np.array([part[name] for part in spreads])


def database(
    data: Dataset, splits: int = 3, n_queries: int = 1000, n_train: int = 5000
) -> Iterator[Row]:
    """Put the training images into the database, or leave them out."""
    found: dict = {}
    for seed in range(splits):
        split = data.split(n_queries, n_train, stratify=True, random_state=seed)
        grh = GRH(48, learner="kernel", random_state=seed).fit(split.train, split.train_labels)
        parts = (split.queries, split.train, split.database)
        queries, train, codes = (grh.transform(part) for part in parts)
        everything = np.vstack([train, codes])
        labels = np.concatenate([split.train_labels, split.database_labels])
        for bits in (12, 32, 48):
            for name, part, part_labels in (
                ("in", everything, labels),
                ("out", codes, split.database_labels),
            ):
                pair = queries[:, :bits], part[:, :bits]
                value = mean_average_precision(*pair, split.query_labels, part_labels)
                found.setdefault(f"{bits} bits, {name}", []).append(value)
    for case, values in found.items():
        yield "database", case, "splits", np.array(values)


def sizes(data: Dataset, draws: int = 20) -> Iterator[Row]:
    """Give the entropy of uniform keys by the plug-in estimate, and the bytes of an index."""
    found = []
    for seed in range(draws):
        keys = np.random.RandomState(seed).randint(2**16, size=len(data))
        share = np.unique(keys, return_counts=True)[1] / len(keys)
        found.append(-(share * np.log2(share)).sum())
    yield "keys", "plug-in entropy", "draws", np.array(found)
    codes = encode(LSH(random_state=0), data.split())[1]
    size = len(pickle.dumps(HammingIndex(codes))) / len(codes)
    yield "memory", "index of 16 bits", "", np.array([size])
    yield "memory", "512 float32 over the index", "", np.array([4 * 512 / size])


def run(data: Dataset, parts=None) -> pd.DataFrame:
    """Measure everything; one row per figure."""
    table = []
    every = (sizes, buckets, effective_bits, support_vectors, spread, recall, limits, database)
    for part in tqdm(every if parts is None else parts, disable=None):
        for claim, case, over, values in part(data):
            n, mean = len(values), float(np.mean(values))
            half = stats.t.ppf(0.975, n - 1) * stats.sem(values) if n > 1 else np.nan
            row = {"claim": claim, "case": case, "over": over, "n": n}
            table.append({**row, "mean": mean, "low": mean - half, "high": mean + half})
    return pd.DataFrame(table)


if __name__ == "__main__":
    data = load_dataset()
    table = run(data).round(4)
    print(table.to_string())
    with atomic(results_file(data.name).parent / f"claims_{data.name}.csv", "w") as file:
        table.to_csv(file, index=False)

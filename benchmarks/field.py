"""The field on one page: mAP of every method of chapter 9 under three protocols.

"paper 1000" and "paper 2000" are those of table 1 of "Graph Regularised Hashing" (Moran and
Lavrenko, ECIR 2015): 100 queries per class, all other images are the database, 100 or 200 images
per class of it are labelled. "later" is the one of later papers: 1,000 stratified queries and 5,000
labelled images, which here are not in the database (with them in it, figures would be higher).
Nothing is tuned here. The measure is the tie-aware mAP of the Hamming ranking.

The baselines are the cells of notebooks/09_the_field.ipynb that carry the tag baseline, so that
what is measured is what the chapter shows. Where a code's bits do not depend on how many there are
(PREFIX), the longest code is fitted and shorter ones are its first bits. Each split has its own
draw of every method; low and high are a 95 % t interval over the splits and thus cover both;
first is the figure of the first split. The table goes to results/field_<dataset>.csv.

    python -m benchmarks.field          # a quarter of an hour on two cores
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from tqdm import tqdm

from grh_helpers import GRH, ITQ, LSH, Dataset, Split, load_dataset, mean_average_precision
from grh_helpers.checkpoints import results_file
from grh_helpers.datasets import atomic
from grh_helpers.hashing import class_codes

CHAPTER = Path(__file__).resolve().parent.parent / "notebooks" / "09_the_field.ipynb"
BITS = {"paper 1000": (16, 32, 48, 64), "paper 2000": (16, 32, 48, 64), "later": (12, 24, 32, 48)}
PREFIX = {"LSH", "PCAH", "AGH", "FSDH", "FSDH, gamma 4", "GRH svm"}
STARTS = {"GRH kernel": "lsh", "GRH kernel, ITQ-CCA": "itq-cca", "GRH kernel, max-min": "max-min"}
PRINTED = {  # Table 1 of the paper; of the later protocol, doi:10.1155/2017/8961091, table 3
    ("paper 1000", "LSH"): (0.1290, 0.1394, 0.1463, 0.1525),
    ("paper 1000", "PCAH"): (0.1322, 0.1291, 0.1256, 0.1234),
    ("paper 1000", "Spectral hashing"): (0.1306, 0.1296, 0.1346, 0.1314),
    ("paper 1000", "AGH"): (0.1616, 0.1577, 0.1599, 0.1588),
    ("paper 1000", "ITQ-CCA"): (0.2015, 0.2130, 0.2208, 0.2237),
    ("paper 2000", "ITQ-CCA"): (0.2469, 0.2610, 0.2672, 0.2664),
    ("paper 1000", "KSH"): (0.2440, 0.2730, 0.2827, 0.2905),
    ("paper 2000", "KSH"): (0.2721, 0.3006, 0.3119, 0.3236),
    ("paper 1000", "GRH svm"): (0.2195, 0.2264, 0.2475, 0.2490),
    ("paper 2000", "GRH svm"): (0.2342, 0.2569, 0.2554, 0.2639),
    ("paper 1000", "GRH kernel"): (0.2848, 0.3013, 0.3129, 0.3015),
    ("paper 2000", "GRH kernel"): (0.3191, 0.3475, 0.3542, 0.3646),
    ("paper 1000", "GRH kernel, ITQ-CCA"): (0.2976, 0.3161, 0.3171, 0.3209),
    ("paper 2000", "GRH kernel, ITQ-CCA"): (0.3435, 0.3675, 0.3722, 0.3688),
    ("later", "KSH"): (0.303, 0.337, 0.346, 0.356),
    ("later", "ITQ"): (0.162, 0.169, 0.172, 0.175),
    ("later", "ITQ-CCA"): (0.264, 0.282, 0.288, 0.295),
}


def protocol_split(data: Dataset, protocol: str, seed: int) -> Split:
    """Draw the split of a protocol; the small data sets get 30 queries per class and few labels."""
    small = len(data) <= 10_000
    kind, _, size = protocol.partition(" ")
    n_queries = 300 if small else 1000
    n_train = int(size or 5000) // (10 if small else 1) + 200 * small
    split = data.split(n_queries, n_train, stratify=True, random_state=seed)
    if kind == "later":
        return split
    return replace(
        split,
        database=np.concatenate([split.train, split.database]),
        database_labels=np.concatenate([split.train_labels, split.database_labels]),
        database_index=np.concatenate([split.train_index, split.database_index]),
    )


def remembering(kernel):
    """Return the kernel with its values kept: all lengths of KSH and FSDH have the same anchors."""
    known: dict = {}

    def lookup(Z, anchors, gamma):
        key = Z.shape, Z[-1].tobytes(), anchors.tobytes(), gamma
        if key not in known:
            known[key] = kernel(Z, anchors, gamma)
        return known[key]

    return lookup


def baselines() -> dict:
    """Run the chapter's cells with the tag baseline and return what they define."""
    names: dict = {}
    for cell in nbformat.read(CHAPTER, as_version=4).cells:
        if "baseline" in cell.metadata.get("tags", []):
            exec(cell.source, names)
    names["rbf_kernel"] = remembering(names["rbf_kernel"])
    return names


def packaged(make, X, y, n_bits: int, seed: int):
    """Fit one of the package's hashers and return the function that encodes."""
    return make(n_bits, random_state=seed).fit(X, y).transform


def methods(protocol: str) -> dict:
    """Return what is compared: functions of X, y, n_bits and seed that return an encoder."""
    chapter = baselines()
    landmarks = make_pipeline(
        Nystroem(gamma=4.0, n_components=300, random_state=0), Ridge(alpha=0.1)
    )
    few = partial(GRH, learner=landmarks, init="max-min")
    found = {"LSH": partial(packaged, LSH), "PCAH": chapter["pcah"], "ITQ": chapter["itq"]}
    found |= {"Spectral hashing": chapter["spectral_hashing"], "AGH": chapter["agh"]}
    if protocol == "paper 2000":  # for these the number of labels changes little or nothing
        found = {}
    found |= {"ITQ-CCA": chapter["itq_cca"], "KSH": chapter["ksh"], "FSDH": chapter["fsdh"]}
    found |= {"FSDH, gamma 4": partial(chapter["fsdh"], gamma=4.0)}
    found |= {"GRH kernel, max-min, 300 landmarks": partial(packaged, few)}
    if protocol == "paper 1000":  # the SVMs of 5,000 rows would take longer than all the rest
        found |= {"KSH, gamma 4": partial(chapter["ksh"], gamma=4.0)}
        found |= {"GRH svm": partial(packaged, GRH)}
    return found


class Starts(BaseEstimator):
    """Several starts of GRH side by side: exact kernel ridge then learns all of them in one fit."""

    def __init__(self, n_bits: tuple, seed: int):
        self.n_bits = n_bits
        self.seed = seed

    def fit(self, X, y) -> Starts:
        """Find the bits that GRH would start from with each `init` and length."""
        self.columns_, parts, place = {}, [], 0
        classes, members = np.unique(y, return_inverse=True)
        for (method, init), bits in itertools.product(STARTS.items(), self.n_bits):
            if init == "max-min":
                part = class_codes(len(classes), bits, self.seed)[members]
            elif init == "lsh":
                part = LSH(bits, random_state=self.seed).fit_transform(X)
            else:
                part = ITQ(bits, supervised=True, random_state=self.seed).fit(X, y).transform(X)
            self.columns_[method, bits] = slice(place, place + bits)
            parts.append(part)
            place += bits
        self.bits_ = np.hstack(parts)
        return self

    def transform(self, X) -> np.ndarray:
        """Return the bits of the rows seen in `fit`."""
        return self.bits_


def run(data: Dataset, protocol: str, seed: int) -> list[dict]:
    """Measure all methods on one split; one row per figure."""
    split, lengths, rows = protocol_split(data, protocol, seed), BITS[protocol], []
    X, y = split.train, split.train_labels

    def measure(method: str, bits: int, codes: list, columns: slice) -> None:
        value = mean_average_precision(
            *(code[:, columns] for code in codes), split.query_labels, split.database_labels
        )
        rows.append({"protocol": protocol, "method": method, "bits": bits, "map": value})

    for method, fit in methods(protocol).items():
        for bits in sorted(lengths, reverse=True):
            if bits == max(lengths) or method not in PREFIX:
                encode = fit(X, y, bits, seed)
                codes = [encode(part) for part in (split.queries, split.database)]
            measure(method, bits, codes, slice(bits))
    starts = Starts(lengths, seed)
    n_bits = len(STARTS) * sum(lengths)
    grh = GRH(n_bits, learner="kernel", init=starts, random_state=seed).fit(X, y)
    codes = [grh.transform(part) for part in (split.queries, split.database)]
    for (method, bits), columns in starts.fit(X, y).columns_.items():
        measure(method, bits, codes, columns)
    return rows


def summarise(rows: list[dict]) -> pd.DataFrame:
    """Average over the splits and set printed figures beside."""
    printed = {(*key, bits): figure for key, figures in PRINTED.items()
               for bits, figure in zip(BITS[key[0]], figures, strict=True)}  # fmt: skip
    table = []
    for key, group in pd.DataFrame(rows).groupby(["protocol", "method", "bits"]):
        n, mean = len(group), group["map"].mean()
        half = stats.t.ppf(0.975, n - 1) * group["map"].sem()
        row = dict(zip(("protocol", "method", "bits"), key, strict=True))
        row |= {"mean": mean, "low": mean - half, "high": mean + half}
        row |= {"first": group["map"].iloc[0], "printed": printed.get(key, np.nan)}
        table.append(row)
    return pd.DataFrame(table)


def field(data: Dataset, splits: int = 5, n_jobs: int = 2) -> pd.DataFrame:
    """Run everything, a process per split and protocol."""
    cases = list(itertools.product(range(splits), reversed(BITS)))
    with parallel_config(backend="loky", inner_max_num_threads=1):
        results = Parallel(n_jobs=n_jobs, return_as="generator")(
            delayed(run)(data, protocol, seed) for seed, protocol in cases
        )
        rows = [row for result in tqdm(results, total=len(cases), disable=None) for row in result]
    return summarise(rows)


if __name__ == "__main__":
    data = load_dataset()
    table = field(data).round(4)
    if len(data) <= 10_000:
        table["printed"] = np.nan  # printed figures are CIFAR-10's
    with atomic(results_file(data.name).parent / f"field_{data.name}.csv", "w") as file:
        table.to_csv(file, index=False)
    print(table.pivot(index=["protocol", "method"], columns="bits", values="mean").to_string())

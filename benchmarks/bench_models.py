"""Sweep, training, ranking measure and encoding, each beside the obvious way to do it.

Every pair runs in turn in one process and must agree before a time counts.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from functools import partial

import numpy as np
import pandas as pd
from sklearn.metrics import pairwise_distances
from sklearn.svm import SVC

from grh_helpers import (
    GRH,
    LSH,
    Dataset,
    average_precision,
    load_dataset,
    pack_bits,
    radius_sweep,
)
from grh_helpers.experiment import METHODS, encode, ranking_split

COLUMNS = ["case", "ours_ms", "peer", "peer_ms", "ratio", "ratio_low", "ratio_high"]


def compare(case: str, peer_name: str, ours, peer, repeats: int) -> pd.DataFrame:
    """Time two callables in turn; one row of medians, and ratios ours / peer pair by pair."""
    times = {ours: [], peer: []}
    for _ in range(repeats):
        for call in (ours, peer):
            start = time.perf_counter()
            call()
            times[call].append((time.perf_counter() - start) * 1000)
    ratios = np.divide(times[ours], times[peer])
    row = [case, np.median(times[ours]), peer_name, np.median(times[peer])]
    return pd.DataFrame([[*row, np.median(ratios), ratios.min(), ratios.max()]], columns=COLUMNS)


# Sweep --------------------------------------------------------------------------------------------


def naive_sweep(query_codes, database_codes, split, radii, k=10) -> pd.DataFrame:
    """Probe a dict of buckets with itertools, rank with pairwise_distances and a DataFrame each."""
    powers = 1 << np.arange(query_codes.shape[1])[::-1]
    table = defaultdict(list)
    for i, key in enumerate(database_codes @ powers):
        table[key].append(i)
    rows = []
    for radius in radii:
        start = time.perf_counter()
        precisions = []
        for code, query, label in zip(query_codes, split.queries, split.query_labels, strict=True):
            candidates = []
            for r in range(radius + 1):
                for bits in itertools.combinations(range(len(code)), r):
                    probe = code.copy()
                    probe[list(bits)] ^= True
                    candidates += table.get(probe @ powers, [])
            found = pd.DataFrame({"id": candidates, "label": split.database_labels[candidates]})
            if candidates:
                found["distance"] = pairwise_distances(
                    split.database[candidates], query[None], metric="cosine"
                ).ravel()
                found = found.sort_values(["distance", "id"]).head(k)
            precisions.append((found["label"] == label).sum() / k)
        seconds = (time.perf_counter() - start) / len(query_codes)
        rows.append({"radius": radius, "precision": np.mean(precisions), "seconds": seconds})
    return pd.DataFrame(rows)


def sweep(data: Dataset, repeats: int = 5) -> pd.DataFrame:
    """Radii 0 to 10; the naive loop takes minutes on CIFAR-10, so it runs once."""
    split = data.split()
    codes = encode(METHODS["LSH"](16, random_state=0), split)
    ours = partial(radius_sweep, *codes, split, range(11))
    start = time.perf_counter()
    naive = naive_sweep(*codes, split, range(11))
    naive_ms = (time.perf_counter() - start) * 1000
    np.testing.assert_allclose(ours()["precision"], naive["precision"], atol=1e-12)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        ours()
        times.append((time.perf_counter() - start) * 1000)
    ratios = np.array(times) / naive_ms
    row = ["sweep of radii 0-10", np.median(times), "itertools, dict, pairwise_distances", naive_ms]
    return pd.DataFrame([[*row, np.median(ratios), ratios.min(), ratios.max()]], columns=COLUMNS)


# Training -----------------------------------------------------------------------------------------


def training(data: Dataset, repeats: int = 5) -> pd.DataFrame:
    """GRH from one Gram matrix beside one SVC(kernel="linear") per bit; the same hyperplanes."""
    split = data.split()
    ours = GRH(16, random_state=0)
    peer = GRH(16, random_state=0, learner=SVC(kernel="linear", class_weight="balanced"))
    for model in (ours, peer):
        model.fit(split.train, split.train_labels)
    fitted = [svm for _, svm in peer.learners_]
    np.testing.assert_allclose(ours.coef_, np.vstack([s.coef_ for s in fitted]), atol=1e-10)
    np.testing.assert_allclose(
        ours.intercept_, np.hstack([s.intercept_ for s in fitted]), atol=1e-10
    )
    fits = [partial(m.fit, split.train, split.train_labels) for m in (ours, peer)]
    return compare("GRH training, 16 bits", 'SVC(kernel="linear") per bit', *fits, repeats)


# Mean average precision ---------------------------------------------------------------------------


def sorting_average_precision(query_codes, database_codes, query_labels, database_labels):
    """Sort once per query; within a tie the relevance is spread evenly, as the expectation asks."""
    queries, items = pack_bits(query_codes), pack_bits(database_codes)
    values = []
    for query, label in zip(queries, query_labels, strict=True):
        distances = np.bitwise_count(items ^ query)
        order = np.argsort(distances, kind="stable")
        ranked, relevant = distances[order], (database_labels[order] == label).astype(float)
        first = np.flatnonzero(np.diff(ranked, prepend=-1))
        sizes = np.diff(first, append=len(ranked))
        r, n = np.repeat(np.add.reduceat(relevant, first), sizes), np.repeat(sizes, sizes)
        place = np.arange(len(ranked)) - np.repeat(first, sizes)
        before = np.repeat(np.cumsum(relevant)[first] - relevant[first], sizes)
        hits = before + 1 + place * (r - 1) / np.maximum(n - 1, 1)
        values.append((r / n * hits / np.arange(1, len(ranked) + 1)).sum() / relevant.sum())
    return np.array(values)


def plain_average_precision(query_codes, database_codes, query_labels, database_labels):
    """Sort once per query, ties in whatever order it leaves them: fewer steps, other values."""
    queries, items = pack_bits(query_codes), pack_bits(database_codes)
    values = []
    for query, label in zip(queries, query_labels, strict=True):
        order = np.argsort(np.bitwise_count(items ^ query))
        ranks = np.flatnonzero(database_labels[order] == label) + 1
        values.append((np.arange(1, len(ranks) + 1) / ranks).mean())
    return np.array(values)


def ranking(data: Dataset, repeats: int = 3) -> pd.DataFrame:
    """Tie-aware mAP beside an argsort per query, with and without the right treatment of ties."""
    split = ranking_split(data)
    labels, n = (split.query_labels, split.database_labels), len(split.queries)
    rows = []
    for bits in (16, 64):
        case = (*encode(METHODS["LSH"](bits, random_state=0), split), *labels)
        np.testing.assert_allclose(average_precision(*case), sorting_average_precision(*case))
        for name, peer in (
            ("an argsort per query, tie-aware", sorting_average_precision),
            ("an argsort per query, ties ignored", plain_average_precision),
        ):
            calls = partial(average_precision, *case), partial(peer, *case)
            rows.append(compare(f"mAP, {n} queries, {bits} bits", name, *calls, repeats))
    return pd.concat(rows)


# Encoding -----------------------------------------------------------------------------------------


def encoding(n: int = 1_000_000, n_features: int = 512, repeats: int = 5) -> pd.DataFrame:
    """Codes of a million vectors beside the bare matrix product."""
    rng = np.random.default_rng(0)
    X = np.empty((n, n_features), np.float32)
    for start in range(0, n, 10_000):
        X[start : start + 10_000] = rng.standard_normal((10_000, n_features), dtype=np.float32)
    lsh = LSH(16, random_state=0).fit(X[:10])
    planes = np.ascontiguousarray(lsh.coef_.T, dtype=np.float32)
    product = X @ planes
    clear = np.abs(product) > 1e-3  # nearer to a plane, the order of summation may decide
    assert (lsh.transform(X) == (product >= 0))[clear].all()
    calls = partial(lsh.transform, X), partial(np.matmul, X, planes)
    return compare(f"encoding {n:,} x {n_features}", "bare matrix product", *calls, repeats)


def run() -> pd.DataFrame:
    """All of them, on the dataset that `load_dataset` finds."""
    data = load_dataset()
    frame = pd.concat([sweep(data), training(data), ranking(data), encoding()], ignore_index=True)
    return frame.assign(dataset=data.name)


if __name__ == "__main__":
    print(run().to_string(index=False, float_format="{:.3f}".format))

"""Is hashing worth it on one's own vectors? All methods side by side, a verdict, and a report."""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import kneighbors_graph
from sklearn.utils import check_random_state
from tqdm import tqdm

from grh_helpers import plots
from grh_helpers.codes import check_rows, check_whole
from grh_helpers.evaluation import bootstrap_ci, mean_average_precision
from grh_helpers.hashing import GRH, ITQ, LSH
from grh_helpers.index import HammingIndex

__all__ = ["compare", "load_array", "report", "verdict"]

_BLOCK = 1 << 16  # rows normalised at a time


def load_array(path: str | Path, name: str) -> np.ndarray:
    """Read an array from a ``.npy`` file, memory-mapped, or from a ``.npz`` file.

    Parameters
    ----------
    path : path of the file
    name : str
        Which array of a ``.npz`` file is wanted, if it holds several.

    Returns
    -------
    ndarray

    Raises
    ------
    ValueError
        If there is no such file, it is no such file, or holds several arrays and none of the name.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}; check the path.")
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        return found[name if name in found or len(found.files) > 1 else found.files[0]]
    except (ValueError, OSError, EOFError, KeyError) as error:
        todo = f"save one array with numpy.save, or one called {name} with numpy.savez"
        raise ValueError(f"{path} cannot be used ({error}); {todo}.") from error


def _normalised(features, train: np.ndarray) -> np.ndarray:
    """Rows of unit length minus the mean of the training rows, in float32."""
    if features.ndim != 2 or features.dtype.kind not in "fiu" or len(features) < 50:
        got = f"{features.dtype} of shape {features.shape}"
        raise ValueError(f"Features must be numbers, at least 50 rows of a matrix, got {got}.")
    unit = np.empty(features.shape, np.float32)
    for i in range(0, len(unit), _BLOCK):
        block = np.asarray(features[i : i + _BLOCK], dtype=np.float64)
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
        if len(wrong):
            what = "is zero or has NaN or infinite entries"
            raise ValueError(f"Row {i + wrong[0]} of the features {what}; remove it.")
        unit[i : i + _BLOCK] = block / lengths
    unit -= unit[train].mean(axis=0)
    return unit


def _hasher(name: str, n_bits: int, seed: int, X: np.ndarray, y):
    """Fit the method of that name to the training rows."""
    if name in ("LSH", "ITQ"):
        return {"LSH": LSH, "ITQ": ITQ}[name](n_bits, random_state=seed).fit(X)
    grh = GRH(n_bits, learner=name.split()[1], random_state=seed)
    if y is not None:
        return grh.fit(X, y)
    return grh.fit(X, graph=kneighbors_graph(X, min(10, len(X) - 1), include_self=True))


def compare(
    features,
    labels=None,
    n_bits: Sequence[int] = (16, 32, 64, 128, 256),
    budgets: Sequence[int] = (100, 1000),
    k: int = 10,
    *,
    seeds: int = 1,
    random_state=0,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare exact search with LSH, ITQ and GRH on any vectors.

    200 rows are queries and 2,000 train the hash functions (a tenth and a third of a small set);
    all others are the database. Rows are scaled to unit length and centred, as cosine needs.

    Parameters
    ----------
    features : array of shape (n, d), memory maps included
    labels : array-like of shape (n,), optional
        Classes. With them GRH learns from classes, without them from nearest neighbours.
    n_bits : sequence of int, default=(16, 32, 64, 128, 256)
        Code lengths; ITQ is left out where they exceed d or the training rows.
    budgets : sequence of int, default=(100, 1000)
        Candidates per query that are re-ranked by exact cosine.
    k : int, default=10
        Number of items retrieved.
    seeds : int, default=1
        Draws of each method.
    random_state : int, RandomState instance or None, default=0
        Seed of the rows that become queries and training set.
    progress : bool, default=False
        Show a progress bar on terminals.

    Returns
    -------
    DataFrame
        One row per method, code length and budget: ``recall``, ``recall_low``, ``recall_high`` of
        the true neighbours, the mean over queries and draws with a bootstrap interval over queries;
        with labels ``precision`` likewise and ``map``; ``bytes`` per item, ``encode_us`` per item
        and ``query_us`` per query, in microseconds.

    Raises
    ------
    ValueError
        If the features are no finite matrix of 50 rows or more, a row is zero, the labels are of
        another number, or a parameter is out of range.
    """
    features = np.asanyarray(features)
    rows = check_random_state(random_state).permutation(len(features))
    n_queries, n_train = min(200, len(rows) // 10), min(2000, len(rows) // 3)
    train = np.sort(rows[n_queries : n_queries + n_train])
    unit = _normalised(features, train)
    check_whole("k", k, 1, len(rows) - n_queries - n_train)
    check_whole("seeds", seeds, 1)
    y = None
    if labels is not None:
        labels = np.asarray(labels)
        check_rows("labels", labels, "features", features)
        y = labels[train]
    others = rows[n_queries + n_train :]
    queries, database, train = unit[rows[:n_queries]], unit[others], unit[train]
    del unit
    everything = HammingIndex(np.zeros((len(database), 1), bool), database)  # building is not timed
    start = time.perf_counter()
    true, _ = everything.search(np.zeros((n_queries, 1), bool), 0, k, queries)
    exact_us = 1e6 * (time.perf_counter() - start) / n_queries

    def measures(found: list[np.ndarray]) -> dict:
        """Mean and interval over queries of each measure, from one answer per draw."""
        recalls = [(ids[:, :, None] == true[:, None]).any(axis=1).mean(axis=1) for ids in found]
        values = {"recall": np.mean(recalls, axis=0)}
        if labels is not None:
            kinds, wanted = labels[others], labels[rows[:n_queries], None]
            hits = [((ids >= 0) & (kinds[ids] == wanted)).mean(axis=1) for ids in found]
            values["precision"] = np.mean(hits, axis=0)
        ends = ("", "_low", "_high")
        return {
            name + end: number
            for name, value in values.items()
            for end, number in zip(ends, bootstrap_ci(value), strict=True)
        }

    size = {"n_bits": 32 * features.shape[1], "bytes": 4 * features.shape[1]}
    table = [{"method": "exact", **size, "budget": len(database), **measures([true])}]
    table[0] |= {"encode_us": 0.0, "query_us": exact_us}
    learned = ["GRH ridge"] if labels is None else ["GRH svm", "GRH kernel"]
    jobs = [(name, bits) for name in ("LSH", "ITQ", *learned) for bits in n_bits]
    jobs = [job for job in jobs if job[0] != "ITQ" or job[1] <= min(train.shape)]
    for name, bits in tqdm(jobs, desc="compare", disable=None if progress else True):
        found, maps, encoding, searching = (
            {b: [] for b in budgets},
            [],
            0.0,
            dict.fromkeys(budgets, 0.0),
        )
        for seed in range(seeds):
            hasher = _hasher(name, bits, seed, train, y)
            start = time.perf_counter()
            codes = hasher.transform(database)
            encoding += time.perf_counter() - start
            query_codes, index = hasher.transform(queries), HammingIndex(codes, database)
            for budget in budgets:
                start = time.perf_counter()
                found[budget].append(index.search(query_codes, None, k, queries, budget=budget)[0])
                searching[budget] += time.perf_counter() - start
            if labels is not None:
                sides = labels[rows[:n_queries]], labels[others]
                maps.append(mean_average_precision(query_codes, codes, *sides))
        for budget in budgets:
            line = {"method": name, "n_bits": bits, "bytes": bits / 8, "budget": budget}
            line |= measures(found[budget]) | ({"map": np.mean(maps)} if maps else {})
            line["encode_us"] = 1e6 * encoding / seeds / len(database)
            line["query_us"] = 1e6 * searching[budget] / seeds / n_queries
            table.append(line)
    return pd.DataFrame(table)


def verdict(table: pd.DataFrame, k: int = 10) -> list[str]:
    """Say in sentences what a table of `compare` means.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it.
    k : int, default=10
        Number of items retrieved.

    Returns
    -------
    list of str
    """

    def figure(row: pd.Series, name: str) -> str:
        return f"{row[name]:.2f} ({row[name + '_low']:.2f} to {row[name + '_high']:.2f})"

    exact, hashed = table.iloc[0], table.iloc[1:]
    good = hashed[hashed["recall_low"] >= 0.9].sort_values(["budget", "n_bits"])
    said, chosen = [], good.iloc[0] if len(good) else hashed.loc[hashed["recall"].idxmax()]
    best = {"recall": chosen}
    if "precision" in table:
        best["precision"] = hashed.loc[hashed["precision"].idxmax()]
    for name, row in best.items():
        same = hashed[(hashed["n_bits"] == row["n_bits"]) & (hashed["budget"] == row["budget"])]
        lsh = same[same["method"] == "LSH"].iloc[0]
        said.append(
            f"{name.capitalize()}@{k}: {row['method']} with {row['n_bits']:.0f} bits has "
            f"{figure(row, name)} with {row['budget']:,.0f} candidates per query; LSH of that "
            f"length {figure(lsh, name)}, exact search {figure(exact, name)}."
        )
    said.append(
        f"A code of {chosen['n_bits']:.0f} bits takes {chosen['bytes']:.0f} bytes, a vector "
        f"{exact['bytes']:.0f}; re-ranking still needs the vectors. A query takes "
        f"{chosen['query_us']:.0f} microseconds, exact search {exact['query_us']:.0f}."
    )
    worth = len(good) and chosen["query_us"] < exact["query_us"]
    said.append(
        "Hashing is worth it here for finding nearest neighbours: nine in ten are found, faster."
        if worth
        else "For nearest neighbours hashing is not worth it at these budgets: it misses more than "
        "one in ten or is no faster; try larger budgets, more bits, or exact search."
    )
    said.append("Intervals hold 95 % and were resampled over queries, not over splits.")
    return said


def report(table: pd.DataFrame, title: str, k: int = 10) -> tuple[str, bytes]:
    """Put verdict, figure and table into one page that needs no other file.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it.
    title : str
    k : int, default=10
        Number of items retrieved.

    Returns
    -------
    page, picture : str and bytes
        HTML, and the PNG that is also inside it.
    """
    budgets = sorted(table["budget"].iloc[1:].unique())
    figure, axes = plots.plt.subplots(1, len(budgets), figsize=(5 * len(budgets), 4), squeeze=False)
    for ax, budget in zip(axes[0], budgets, strict=True):
        rows = table[table["budget"] == budget]
        rows = rows.rename(columns={"recall_low": "low", "recall_high": "high"})
        plots.plot_intervals(rows[rows["method"] != "exact"], "n_bits", "recall", ax)
        ax.set_xscale("log", base=2)
        ax.set_ylim(0, 1.03)
        ax.set(xlabel="bits", ylabel=f"recall@{k}", title=f"{budget:,} candidates per query")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, metadata={"Software": None})
    plots.plt.close(figure)
    picture = base64.b64encode(buffer.getvalue()).decode()
    sentences = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in verdict(table, k))
    style = "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    style += "img{max-width:100%}td,th{padding:.2em .6em;text-align:right}div{overflow-x:auto}"
    alt = "Recall of the true neighbours by code length, one line per method with intervals"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{style}</style><h1>{html.escape(title)}</h1>{sentences}"
        f'<img alt="{alt}" src="data:image/png;base64,{picture}">'
        f"<div>{table.round(3).to_html(index=False, na_rep='', border=0)}</div></html>\n"
    )
    return page, buffer.getvalue()

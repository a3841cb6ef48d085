"""Is hashing worth it on one's own vectors? All methods side by side, a verdict, and a report."""

from __future__ import annotations

import base64
import html
import io
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import kneighbors_graph
from sklearn.utils import check_array, check_random_state
from sklearn.utils.extmath import row_norms
from tqdm import tqdm

from grh_helpers import plots
from grh_helpers.codes import check_rows, check_whole
from grh_helpers.datasets import Split
from grh_helpers.evaluation import bootstrap_ci, mean_average_precision
from grh_helpers.experiment import Methods
from grh_helpers.hashing import GRH, ITQ, LSH
from grh_helpers.index import HammingIndex, exact_search

__all__ = ["compare", "load_array", "measure", "readable", "report", "verdict"]

# How each column of a table is printed, from left to right; what is not here is not printed.
_FORMATS = {"method": "{}", "radius": "{}", "n_bits": "{}", "bytes": "{:.0f}", "budget": "{:,}"}
_FORMATS |= {"recall": "{:.2f}", "precision": "{:.3f}", "map": "{:.3f}", "nonempty": "{:.0%}"}
_FORMATS |= {"candidates": "{:,.0f}", "p95": "{:,.0f}", "encode_us": "{:.1f}"}
_FORMATS |= {"query_us": "{:,.0f}", "seconds": "{:.6f}"}
_STYLE = """body { font: 1em/1.5 sans-serif; max-width: 62em; margin: auto } img { width: 100% }
div { overflow-x: auto } td, th { padding: .2em .6em; text-align: right; white-space: nowrap }"""


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
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        return found[name if len(found.files) > 1 else found.files[0]]
    except (ValueError, OSError, EOFError, KeyError) as error:
        todo = f"save one array with numpy.save, or one called {name} with numpy.savez"
        raise ValueError(f"{path} cannot be used ({error}); {todo}.") from error


def _normalised(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Rows of unit length minus the mean of the training rows, in float32."""
    if features.dtype.kind not in "biuf":
        raise ValueError(f"The features must be numbers, got {features.dtype}; convert them.")
    unit = check_array(
        features, dtype=np.float32, copy=True, ensure_all_finite=False, ensure_min_samples=50
    )
    norms = row_norms(unit)
    usable = (norms > 1e-15) & (norms < np.inf)  # below, squares are too small for float32
    if not usable.all():
        what = "is zero, not finite, or too short or long for float32; remove or scale it"
        raise ValueError(f"Row {np.argmin(usable)} of the features {what}.")
    unit /= norms[:, None]
    unit -= unit[train].mean(axis=0)
    return unit


def compare(
    features,
    labels=None,
    n_bits: Sequence[int] = (16, 32, 64, 128, 256),
    budgets: Sequence[int] = (100, 1000),
    k: int = 10,
    *,
    seeds: int = 3,
    random_state=0,
    progress: bool = False,
) -> pd.DataFrame:
    """Compare exact search with LSH, ITQ and GRH on any vectors.

    200 rows are queries and 2,000 train the hash functions (a tenth and a third of a small set, and
    100 queries beyond 100,000 rows); all others are the database. Rows are scaled to unit length
    and centred, as cosine needs. Budgets of more than a quarter of the database are left out, since
    there any code finds a lot; if none remains, a tenth of it is the budget, at least k.

    Parameters
    ----------
    features : array of shape (n, d), memory maps included
    labels : array-like of shape (n,), optional
        Classes. With them GRH learns from classes, without them from nearest neighbours.
    n_bits, budgets, k, seeds, progress
        As for `measure`.
    random_state : int, RandomState instance or None, default=0
        Seed of the rows that become queries and training set.

    Returns
    -------
    DataFrame
        As `measure` returns it.

    Raises
    ------
    ValueError
        If the features are no finite matrix of 50 rows or more, a row is zero, the labels are of
        another number, or a parameter is out of range.
    """
    features = np.asanyarray(features)
    learners = ["ridge"] if labels is None else ["svm", "kernel"]
    methods = {f"GRH {name}": partial(GRH, learner=name) for name in learners}
    methods = {"LSH": LSH, "ITQ": ITQ, **methods}
    if labels is not None:
        labels = np.asarray(labels)
        check_rows("labels", labels, "features", features)
    rows = check_random_state(random_state).permutation(len(features))
    most = 200 if len(rows) <= 100_000 else 100
    n_queries, n_train = min(most, len(rows) // 10), min(2000, len(rows) // 3)
    parts = np.split(rows, [n_queries, n_queries + n_train])
    unit = _normalised(features, parts[1])
    pairs = [(unit[part], None if labels is None else labels[part]) for part in parts]
    del unit
    split = Split(*itertools.chain(*pairs), *parts)
    n = len(split.database)
    budgets = [budget for budget in budgets if 4 * budget <= n] or [max(k, n // 10)]
    return measure(split, methods, n_bits, budgets, k, seeds=seeds, progress=progress)


def measure(
    split: Split,
    methods: Methods,
    n_bits: Sequence[int],
    budgets: Sequence[int],
    k: int = 10,
    *,
    seeds: int = 3,
    progress: bool = False,
) -> pd.DataFrame:
    """Measure methods with the same number of candidates for every query.

    A shorter code of LSH or GRH is the beginning of the longest one, since their bits are learned
    one by one; ITQ is fitted to each length.

    Parameters
    ----------
    split : Split
        Queries, training set and database; labels may be None.
    methods : dict of str to callable
        Label of a method → function of (n_bits, random_state) that returns an estimator.
    n_bits : sequence of int
        Code lengths; ITQ is left out where they exceed the features or the training rows.
    budgets : sequence of int
        Candidates per query, in Hamming order, that are re-ranked by exact cosine.
    k : int, default=10
        Number of items retrieved.
    seeds : int, default=3
        Draws of each method.
    progress : bool, default=False
        Show a progress bar on terminals.

    Returns
    -------
    DataFrame
        One row per method, code length and budget: ``recall``, ``recall_low``, ``recall_high`` of
        the true neighbours, the mean over queries and draws with a bootstrap interval over both;
        with labels ``precision`` likewise and ``map``, the mean average precision; ``bytes`` per
        item; ``encode_us`` per item, to the longest code (ITQ: to this one), and ``query_us`` per
        query, in microseconds; ``draws``; ``k``. The first row is exact search.

    Raises
    ------
    ValueError
        If a parameter is out of range; as the estimators.
    """
    check_whole("k", k, 1, len(split.database))
    check_whole("seeds", seeds, 1)
    queries, database, rows = split.queries, split.database, []
    labels = split.query_labels, split.database_labels
    true, _ = exact_search(queries, database, k)

    def search(index: HammingIndex, query_codes: np.ndarray, row: dict, **limit) -> None:
        """Add a row whose recall and precision hold a value per query."""
        start = time.perf_counter()
        best, _ = index.search(query_codes, k=k, queries=queries, **limit)
        row["query_us"] = 1e6 * (time.perf_counter() - start) / len(queries)
        row["recall"] = (best[:, :, None] == true[:, None]).any(axis=1).mean(axis=1)
        if labels[0] is not None:
            hits = labels[1][best] == labels[0][:, None]
            row["precision"] = ((best >= 0) & hits).mean(axis=1)
        rows.append(row)

    exact = {"method": "exact", "n_bits": 8 * database[0].nbytes, "budget": len(database)}
    index = HammingIndex(np.zeros((len(database), 1), bool), database)  # one bucket for all
    search(index, np.zeros((len(queries), 1), bool), exact, radius=0)
    jobs = [*itertools.product(methods, range(seeds))]
    for name, seed in tqdm(jobs, desc="compare", disable=None if progress else True):
        short = [[bits] for bits in n_bits if bits <= min(split.train.shape)]
        for lengths in short if name == "ITQ" else [n_bits]:
            hasher = _fit(methods[name](max(lengths), random_state=seed), split)
            start = time.perf_counter()
            longest = hasher.transform(database), hasher.transform(queries)
            encode_us = 1e6 * (time.perf_counter() - start) / (len(database) + len(queries))
            for bits in lengths:
                codes, query_codes = (part[:, :bits] for part in longest)
                row = {"method": name, "n_bits": bits, "encode_us": encode_us}
                if labels[0] is not None:
                    row["map"] = mean_average_precision(query_codes, codes, *labels)
                index = HammingIndex(codes, database)
                for budget in budgets:
                    search(index, query_codes, {**row, "budget": budget}, budget=budget)
    draws = pd.DataFrame(rows)
    groups = draws.groupby(["method", "n_bits", "budget"], sort=False)
    table = groups[[*draws.columns.intersection(["map", "encode_us", "query_us"])]].mean()
    table["draws"] = groups.size()
    for name in draws.columns.intersection(["recall", "precision"]):
        # A column per draw, so that draws are resampled as well where there are several.
        samples = [np.squeeze(np.column_stack([*values])) for _, values in groups[name]]
        table[[name, f"{name}_low", f"{name}_high"]] = [*map(bootstrap_ci, samples)]
    return table.reset_index().assign(k=k, bytes=lambda table: table["n_bits"] / 8)


def _fit(hasher, split: Split):
    """Fit to classes, or without them to nearest neighbours."""
    if split.train_labels is None and isinstance(hasher, GRH):
        near = kneighbors_graph(split.train, min(10, len(split.train) - 1), include_self=True)
        return hasher.fit(split.train, graph=near)
    return hasher.fit(split.train, split.train_labels)


def _interval(row: pd.Series, name: str) -> str:
    return f"{row[name]:.2f} ({row[name + '_low']:.2f} to {row[name + '_high']:.2f})"


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Format the columns of a table for people, and join each mean and its interval into one text.

    Parameters
    ----------
    table : DataFrame
        As `measure` returns it, or other columns of those names.

    Returns
    -------
    DataFrame
        A row per row, of strings.
    """
    shown = pd.DataFrame(index=table.index)
    for name in [name for name in _FORMATS if name in table]:
        if f"{name}_low" in table:
            shown[name] = table.apply(_interval, axis=1, name=name)
        else:
            shown[name] = table[name].map(_FORMATS[name].format).replace("nan", "")
    return shown


def verdict(table: pd.DataFrame) -> list[str]:
    """Say in sentences what a table of `measure` means.

    Parameters
    ----------
    table : DataFrame
        As `measure` returns it, with LSH among the methods.

    Returns
    -------
    list of str
    """
    exact, hashed = table.iloc[0], table.iloc[1:]
    good = hashed[hashed["recall_low"] >= 0.9].sort_values(["budget", "n_bits"])
    chosen = good.iloc[0] if len(good) else hashed.loc[hashed["recall"].idxmax()]
    best, said = {"recall": chosen}, []
    if "precision" in table:
        best["precision"] = hashed.loc[hashed["precision"].idxmax()]
    lsh = hashed[hashed["method"] == "LSH"].set_index(["n_bits", "budget"])
    for name, row in best.items():
        text = f"{name.capitalize()}@{row['k']}: {row['method']} with {row['n_bits']} bits has "
        text += f"{_interval(row, name)} with {row['budget']:,} candidates per query"
        if row["method"] != "LSH":
            same = lsh.loc[(row["n_bits"], row["budget"])]
            text += f"; LSH of that length {_interval(same, name)}"
        said.append(f"{text}; exact search {_interval(exact, name)}.")
    said.append(
        f"A code of {chosen['n_bits']} bits takes {chosen['bytes']:.0f} bytes, a vector "
        f"{exact['bytes']:,.0f}; re-ranking still needs the vectors. A query takes "
        f"{chosen['query_us']:,.0f} microseconds, exact search {exact['query_us']:,.0f}."
    )
    worth = "worth it here: nine in ten nearest neighbours are found, faster"
    if not len(good):
        worth = "not worth it here: nine in ten nearest neighbours are not found for certain"
        worth += "; try larger budgets, more bits, or exact search"
    elif chosen["query_us"] >= exact["query_us"]:
        worth = "not worth it here: it is no faster; use exact search"
    draws = f" and {chosen['draws']} draws of each method" if chosen["draws"] > 1 else ""
    how = f"Intervals hold 95 %: over queries{draws}, resampled; the split stays the same."
    return [*said, f"Hashing is {worth}.", how]


def report(table: pd.DataFrame, path: str | Path) -> tuple[str, bytes]:
    """Put verdict, figure and table into one page that needs no other file.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it.
    path : path of the file that the vectors come from

    Returns
    -------
    page, picture : str and bytes
        HTML, and the PNG that is also inside it.
    """
    hashed = table.iloc[1:].rename(columns={"recall_low": "low", "recall_high": "high"})
    groups = hashed.groupby("budget")
    figure, axes = plots.plt.subplots(1, len(groups), figsize=(5 * len(groups), 4), squeeze=False)
    for ax, (budget, rows) in zip(axes[0], groups, strict=True):
        plots.plot_intervals(rows, "n_bits", "recall", ax)
        ax.set_xscale("log", base=2)
        ax.set(xlabel="bits", ylabel=f"recall@{table['k'][0]}", ylim=(0, 1.03))
        ax.set_title(f"{budget:,} candidates per query")
    picture = io.BytesIO()
    figure.savefig(picture, dpi=110, metadata={"Software": None})
    plots.plt.close(figure)
    title = f"Is hashing worth it on {html.escape(Path(path).stem)}?"
    said = "".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in verdict(table))
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>{title}</title><style>{_STYLE}</style>
<h1>{title}</h1><p>Vectors: <code>{html.escape(str(path))}</code></p>
{said}<img alt="Recall of the true neighbours by code length, a line per method with intervals"
src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">
<div>{readable(table).to_html(index=False, border=0)}</div></html>
"""
    return page, picture.getvalue()

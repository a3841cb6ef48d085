"""Is hashing worth it on one's own vectors? All methods side by side, a verdict, and a report."""

import base64
import html
import itertools
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.neighbors import kneighbors_graph
from tqdm import tqdm

from grh_helpers import plots
from grh_helpers.datasets import Split
from grh_helpers.evaluation import bootstrap_ci, budget_sweep, exact_sweep, mean_average_precision
from grh_helpers.experiment import METHODS, Methods
from grh_helpers.hashing import GRH, ITQ, LSH

__all__ = ["compare", "load_array", "readable", "report", "verdict"]

# How each column of a table is printed, from left to right; what is not here is not printed.
_FORMATS = {"method": "{}", "radius": "{}", "n_bits": "{}", "bytes": "{:,.0f}", "budget": "{:,}"}
_FORMATS |= {"recall": "{:.3f}", "precision": "{:.3f}", "map": "{:.3f}", "nonempty": "{:.0%}"}
_FORMATS |= {"candidates": "{:,.0f}", "p95": "{:,.0f}", "encode_us": "{:.1f}"}
_FORMATS |= {"query_us": "{:,.0f}"}


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


def compare(
    split: Split,
    methods: Methods | None = None,
    n_bits: Sequence[int] = (16, 32, 64, 128, 256),
    budgets: Sequence[int] | None = None,
    k: int = 10,
    seeds: int = 3,
) -> pd.DataFrame:
    """Compare methods with exact search, at the same number of candidates for every query.

    A shorter code of LSH or GRH is the beginning of the longest one, since their bits are learned
    one by one; ITQ is fitted to each length. Without labels GRH learns from a graph: the ten
    nearest neighbours in the training set.

    Parameters
    ----------
    split : Split
        Queries, training set and database, with labels or without.
    methods : dict of str to callable, optional
        Label of a method → function of n_bits and, by name, random_state. By default
        LSH, ITQ and GRH: with labels its SVMs and its kernel, without labels ridge regression.
    n_bits : sequence of int, default=(16, 32, 64, 128, 256)
        Code lengths; ITQ is left out where they exceed the features or the training rows.
    budgets : sequence of int, optional
        Candidates per query, in Hamming order, that are re-ranked by exact cosine. By default 100
        and 1,000, without those of more than a quarter of the database, since there any code finds
        a lot; if none remains, a tenth of the database, at least k.
    k : int, default=10
        Number of items retrieved.
    seeds : int, default=3
        Draws of each method.

    Returns
    -------
    DataFrame
        One row per method, code length and budget: ``recall`` of the true neighbours, the mean over
        queries and draws, and ``recall_low``, ``recall_high``, a bootstrap interval over both; with
        labels ``precision`` likewise and ``map``, the mean average precision; ``bytes`` per item;
        ``encode_us`` per item, to the longest code (ITQ: to this one), and ``query_us`` per query,
        in microseconds; ``queries`` and ``draws``, their numbers; ``k``. The first row is exact
        search, with the size of the database as its budget.

    Raises
    ------
    ValueError
        If a parameter is out of range; as the estimators.
    """
    queries, database = split.queries, split.database
    labels = split.query_labels, split.database_labels
    learned, graph = METHODS, None
    if labels[0] is None:
        learned = {"GRH ridge": partial(GRH, learner="ridge")}
        graph = kneighbors_graph(split.train, 10, include_self=True)
    methods = methods or {"LSH": LSH, "ITQ": ITQ, **learned}
    few = [budget for budget in (100, 1000) if 4 * budget <= len(database)]
    budgets = budgets or few or [max(k, len(database) // 10)]
    exact, true = exact_sweep(split, k)
    frames = {("exact", 8 * database[0].nbytes, 0): exact}
    for name, seed in tqdm([*itertools.product(methods, range(seeds))], "compare", disable=None):
        short = [[bits] for bits in n_bits if bits <= min(split.train.shape)]
        for lengths in short if name == "ITQ" else [n_bits]:
            hasher = methods[name](max(lengths), random_state=seed)
            options = {"graph": graph} if isinstance(hasher, GRH) else {}
            hasher.fit(split.train, split.train_labels, **options)
            start = time.perf_counter()
            longest = hasher.transform(queries), hasher.transform(database)
            encode_us = 1e6 * (time.perf_counter() - start) / (len(queries) + len(database))
            for bits in lengths:
                codes = [part[:, :bits] for part in longest]
                frame = budget_sweep(*codes, split, budgets, k, true=true)
                if labels[0] is not None:
                    frame["map"] = mean_average_precision(*codes, *labels)
                frames[name, bits, seed] = frame.assign(encode_us=encode_us)
    rows = pd.concat(frames, names=["method", "n_bits", "seed", "row"]).reset_index()
    groups = rows.groupby(["method", "n_bits", "budget"], sort=False)
    table = groups.mean().assign(query_us=lambda means: 1e6 * means["seconds"])
    table[["queries", "draws"]] = groups[["query", "seed"]].nunique()
    for name in table.columns.intersection(["recall", "precision"]):
        # A column per draw, so that draws are resampled as well where there are several.
        samples = [part.pivot(index="query", columns="seed", values=name) for _, part in groups]
        intervals = [bootstrap_ci(np.squeeze(sample)) for sample in samples]
        table[[name, f"{name}_low", f"{name}_high"]] = intervals
    table = table.drop(columns=["query", "row", "seed", "seconds"]).reset_index()
    return table.assign(k=k, bytes=table["n_bits"] / 8)


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Format the columns of a table for people, and join each mean and its interval into one text.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it, or other columns of those names.

    Returns
    -------
    DataFrame
        A row per row, of strings.
    """
    shown = pd.DataFrame(index=table.index)
    for name in [name for name in _FORMATS if name in table]:
        if f"{name}_low" in table:
            ends = table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
            shown[name] = [f"{mean:.2f} ({low:.2f} to {high:.2f})" for mean, low, high in ends]
        else:
            shown[name] = table[name].map(_FORMATS[name].format).replace("nan", "")
    return shown


def verdict(table: pd.DataFrame) -> list[str]:
    """Say in sentences what a table of `compare` means.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it.

    Returns
    -------
    list of str
    """
    hashed, shown, said = table.iloc[1:], readable(table), []
    good = hashed[hashed["recall_low"] >= 0.9].sort_values(["budget", "n_bits"])
    best = {"recall": good.index[0] if len(good) else hashed["recall"].idxmax()}
    if "precision" in table:
        best["precision"] = hashed["precision"].idxmax()
    exact, chosen = shown.iloc[0], shown.loc[best["recall"]]
    for name, place in best.items():
        row = shown.loc[place]
        same = shown.query("index == 0 or (n_bits == @row.n_bits and budget == @row.budget)")
        found = ", ".join(same["method"] + " " + same[name])
        size = f"{row['method']} with {row['n_bits']} bits and {row['budget']} candidates per query"
        said.append(f"Best for {name}@{table['k'][0]}: {size}. Of this size: {found}.")
    worth = "worth it here: nine in ten nearest neighbours are found, faster"
    if not len(good):
        worth = "not worth it here: nine in ten neighbours are not found for certain; try more bits"
    elif table["query_us"][best["recall"]] >= table["query_us"][0]:
        worth = "not worth it here: it is no faster; use exact search"
    return [
        *said,
        f"A code takes {chosen['bytes']} bytes, a vector {exact['bytes']}, which re-ranking needs.",
        f"A query takes {chosen['query_us']} microseconds, exact search {exact['query_us']}.",
        f"Hashing is {worth}.",
        f"Intervals hold 95 %: {table['queries'][0]} queries, {table['draws'].max()} draws.",
    ]


def report(table: pd.DataFrame, path: str | Path, folder: Path) -> None:
    """Write the table, a figure, and one page with the verdict that needs no other file.

    Parameters
    ----------
    table : DataFrame
        As `compare` returns it.
    path : path of the file that the vectors come from
    folder : Path
        Where ``comparison.csv``, ``recall.png`` and ``report.html`` go.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    table.to_csv(folder / "comparison.csv", index=False)
    hashed = table.iloc[1:].rename(columns={"recall_low": "low", "recall_high": "high"})
    groups = hashed.groupby("budget")
    figure, axes = plots.plt.subplots(1, len(groups), figsize=(5 * len(groups), 4), squeeze=False)
    for ax, (budget, rows) in zip(axes[0], groups, strict=True):
        plots.plot_intervals(rows, "n_bits", "recall", ax)
        ax.set_xscale("log", base=2)
        title = f"{budget:,} candidates per query"
        ax.set(xlabel="bits", ylabel=f"recall@{table['k'][0]}", ylim=(0, 1.03), title=title)
    figure.savefig(folder / "recall.png", dpi=110)
    plots.plt.close(figure)
    picture = base64.b64encode((folder / "recall.png").read_bytes()).decode()
    title = f"Is hashing worth it on {html.escape(Path(path).stem)}?"
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<body style="font: 1em/1.5 sans-serif; max-width: 62em; margin: auto"><h1>{title}</h1>
<p>Vectors: <code>{html.escape(str(path))}</code></p><p>{"</p><p>".join(verdict(table))}</p>
<img alt="Recall of the true neighbours by code length, a line per method with intervals"
style="width: 100%" src="data:image/png;base64,{picture}">
<div style="overflow-x: auto">{readable(table).to_html(index=False)}</div></html>
"""
    (folder / "report.html").write_text(page, encoding="utf-8")

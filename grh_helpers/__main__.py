"""The whole experiment from a shell: ``python -m grh_helpers run``, ``data`` or ``info``."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from tqdm import tqdm

from grh_helpers import plots
from grh_helpers.checkpoints import CheckpointError, checkpoint, results_file
from grh_helpers.datasets import DATASETS, Dataset, Split, available, load_dataset, prepare
from grh_helpers.datasets import data_home as find_data_home
from grh_helpers.evaluation import mean_average_precision, radius_sweep
from grh_helpers.hashing import GRH, LSH, make_learner

__all__ = ["exact_precision", "main", "map_table", "sweep_draws"]

_LEARNERS = ("svm", "ridge", "kernel")
_MAP_BITS = (16, 32, 64)


def sweep_draws(split: Split, hashers: dict, radii, seeds: int, *, progress: bool = False):
    """Sweep the radii for several methods and several draws of their hyperplanes.

    Parameters
    ----------
    split : Split
        Queries, training set and database.
    hashers : dict of str to callable
        Name of a method → function from a seed to an estimator.
    radii : iterable of int
        Hamming radii, in bits.
    seeds : int
        Number of draws; seed s is the same for every method.
    progress : bool, default=False
        Show a progress bar on terminals.

    Returns
    -------
    DataFrame
        Rows of `radius_sweep` with the columns ``method`` and ``seed`` in front.

    Raises
    ------
    ValueError
        As the estimators and `radius_sweep`.
    """
    jobs = [(seed, name) for seed in range(seeds) for name in hashers]
    frames = []
    for seed, name in tqdm(jobs, desc="hash and search", disable=None if progress else True):
        hasher = hashers[name](seed).fit(split.train, split.train_labels)
        frame = radius_sweep(
            hasher.transform(split.queries), hasher.transform(split.database), split, radii
        )
        frames.append(frame.assign(method=name, seed=seed))
    sweep = pd.concat(frames, ignore_index=True)
    return sweep[["method", "seed", *sweep.columns.drop(["method", "seed"])]]


def exact_precision(split: Split, k: int = 10) -> float:
    """Precision@k of exact cosine search over the whole database.

    Parameters
    ----------
    split : Split
        Queries and database.
    k : int, default=10
        Number of items retrieved.

    Returns
    -------
    float
        Mean over the queries.
    """
    # One bucket that holds everything: every image is a candidate at radius 0.
    codes = (np.zeros((len(part), 1), dtype=bool) for part in (split.queries, split.database))
    return float(radius_sweep(*codes, split, radii=[0], k=k)["precision"].iloc[0])


def map_table(
    dataset: Dataset, n_bits=_MAP_BITS, seeds: int = 3, *, progress: bool = False
) -> pd.DataFrame:
    """Mean average precision of Hamming rankings by method and code length.

    The protocol of the published figures: stratified queries and labelled training images, 1,000
    of each on CIFAR-10 (300 on the digits), and everything else as the database.

    Parameters
    ----------
    dataset : Dataset
        Features and labels.
    n_bits : iterable of int, default=(16, 32, 64)
        Code lengths.
    seeds : int, default=3
        Number of draws of the hyperplanes.
    progress : bool, default=False
        Show a progress bar on terminals.

    Returns
    -------
    DataFrame
        Columns ``method``, ``n_bits``, ``seed`` and ``map``.
    """
    size = 1000 if len(dataset.labels) > 10_000 else 300
    split = dataset.split(n_queries=size, n_train=size, stratify=True)
    hashers = {
        "LSH": lambda bits, seed: LSH(bits, random_state=seed),
        "GRH, linear SVM": lambda bits, seed: GRH(bits, random_state=seed),
        "GRH, kernel ridge": lambda bits, seed: GRH(
            bits, learner=make_learner("kernel"), random_state=seed
        ),
    }
    jobs = list(itertools.product(hashers, n_bits, range(seeds)))
    rows = []
    for name, bits, seed in tqdm(jobs, desc="rank by distance", disable=None if progress else True):
        hasher = hashers[name](bits, seed).fit(split.train, split.train_labels)
        codes = hasher.transform(split.queries), hasher.transform(split.database)
        value = mean_average_precision(*codes, split.query_labels, split.database_labels)
        rows.append({"method": name, "n_bits": bits, "seed": seed, "map": value})
    return pd.DataFrame(rows)


def _run(options: argparse.Namespace) -> None:
    if options.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, but it is {options.seeds}.")
    if options.max_radius < 0:
        raise ValueError(f"--max-radius must be at least 0, but it is {options.max_radius}.")
    data = load_dataset(options.dataset, options.data_home)
    split = data.split()
    print(
        f"{data.name}: {len(split.queries):,} queries, {len(split.train):,} training images, "
        f"{len(split.database):,} in the database; {options.bits} bits, {options.seeds} draws",
        flush=True,  # a minute may pass before the next line
    )
    hashers = {
        "LSH": lambda seed: LSH(options.bits, random_state=seed),
        "GRH": lambda seed: GRH(
            options.bits,
            alpha=options.alpha,
            n_iter=options.iterations,
            learner=make_learner(options.learner),
            random_state=seed,
        ),
    }
    radii = range(min(options.max_radius, options.bits) + 1)
    sweep = sweep_draws(split, hashers, radii, options.seeds, progress=True)
    exact = exact_precision(split)
    ranking = map_table(data, seeds=min(options.seeds, 3), progress=True)
    means = sweep.drop(columns="seed").groupby(["method", "radius"], sort=False).mean()
    print(_sweep_text(means.reset_index()))
    print(f"\nexact cosine search over the whole database: precision@10 {exact:.3f}\n")
    ranks = ranking.groupby(["method", "n_bits"], sort=False)["map"].mean()
    print(f"mean average precision of the Hamming ranking, {ranking['seed'].nunique()} draws")
    wide = ranks.unstack().add_suffix(" bits").rename_axis(index=None, columns=None)
    print(wide.to_string(float_format="{:.3f}".format))
    folder = Path(options.output) / data.name
    _write(folder, sweep, ranking, exact)
    print(f"\nfigures and tables are in {folder}")
    if options.record or options.check:
        _check(data.name, means, exact, ranks, record=options.record)
    if options.record:
        picture = results_file(data.name).with_name(f"{data.name}_precision.png")
        shutil.copyfile(folder / "lsh_grh_precision.png", picture)


def _sweep_text(means: pd.DataFrame) -> str:
    table = pd.DataFrame(
        {
            "method": means["method"],
            "radius": means["radius"],
            "precision@10": means["precision"].map("{:.3f}".format),
            "non-empty": means["nonempty"].map("{:.0%}".format),
            "candidates": means["candidates"].map("{:,.0f}".format),
            "ms a query": (means["seconds"] * 1000).map("{:.3f}".format),
        }
    )
    return table.to_string(index=False)


def _write(folder: Path, sweep: pd.DataFrame, ranking: pd.DataFrame, exact: float) -> None:
    """Write tables and figures, each one complete or not at all."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as temporary:
            unfinished = Path(temporary)
            sweep.to_csv(unfinished / "radius_sweep.csv", index=False)
            ranking.to_csv(unfinished / "mean_average_precision.csv", index=False)
            _draw(unfinished, sweep, exact)
            for path in sorted(unfinished.iterdir()):
                os.replace(path, folder / path.name)
    except OSError as error:
        raise ValueError(
            f"The results cannot be written to {folder} ({error.strerror}); "
            "choose another folder with --output."
        ) from error


def _draw(folder: Path, sweep: pd.DataFrame, exact: float) -> None:
    matplotlib.use("agg")
    plots.use_style()
    figures = {
        "lsh_precision.png": lambda: plots.plot_precision(sweep, exact=exact, methods=["LSH"]),
        "lsh_time.png": lambda: plots.plot_time(sweep, methods=["LSH"]),
        "lsh_grh_precision.png": lambda: plots.plot_precision(sweep, exact=exact),
        "lsh_grh_time.png": lambda: plots.plot_time(sweep),
        "equal_cost.png": lambda: plots.plot_equal_cost(sweep),
    }
    for name, draw in figures.items():
        figure = draw().figure
        figure.savefig(folder / name, dpi=150)
        plots.plt.close(figure)


def _check(dataset, means: pd.DataFrame, exact: float, ranks: pd.Series, record: bool):
    """Compare the run with the recorded one.

    Tolerances: one retrieved image more or less for one query is 1/1,200 of a precision@10, and
    the mean of five draws a fifth of that. A library that rounds a projection differently flips
    single bits, which moves a few images: 0.005 allows for that, and no effect reported in the
    series is that small. Counts of candidates get 2 %.
    """
    for (method, radius), row in means.iterrows():
        key = f"run_{method.lower()}_r{radius}"
        checkpoint(f"{key}_precision", row["precision"], 0.005, dataset=dataset, record=record)
        checkpoint(f"{key}_nonempty", row["nonempty"], 0.01, dataset=dataset, record=record)
        if row["nonempty"] > 0:
            checkpoint(
                f"{key}_precision_nonempty", row["precision_nonempty"], 0.01,
                dataset=dataset, record=record,
            )  # fmt: skip
        candidates = row["candidates"]
        checkpoint(f"{key}_candidates", candidates, round(0.02 * candidates + 0.5, 1),
                   dataset=dataset, record=record)  # fmt: skip
    checkpoint("run_exact_precision", exact, 0.001, dataset=dataset, record=record)
    for (method, bits), value in ranks.items():
        name = method.lower().replace(", ", "_").replace(" ", "_")
        checkpoint(f"run_map_{name}_{bits}", value, 0.005, dataset=dataset, record=record)


def _data(options: argparse.Namespace) -> None:
    path = prepare(
        options.dataset or "cifar10", options.data_home, url=options.url, archive=options.archive
    )
    print(f"{options.dataset or 'cifar10'} is ready in {path}")


def _info(options: argparse.Namespace) -> None:
    found = available(options.data_home)
    print(f"data home: {find_data_home(options.data_home)}")
    for name in ("digits", "cifar10", "cifar10-mat"):
        entry = found[name]
        where = f"{entry.size / 1e6:7.0f} MB  {entry.path}" if entry.path else DATASETS[name]
        print(f"{name:<12} {entry.state:<9} {where}")
    print(f"{'auto':<12} means {found['auto'].name} now")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m grh_helpers",
        description="Learning to hash: LSH against Graph Regularised Hashing, data to figures.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="run | data | info")
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument(
        "--data-home",
        metavar="FOLDER",
        help="where data and caches are; by default $GRH_DATA_HOME, else a cache folder of yours",
    )
    run = commands.add_parser(
        "run",
        parents=[home],
        help="run the whole experiment and draw its figures",
        description="Hash the data with LSH and GRH, search at every Hamming radius, print a "
        "table, and write figures and CSV files.",
    )
    run.add_argument("--dataset", choices=list(DATASETS), help="by default $GRH_DATASET, else auto")
    run.add_argument("--bits", type=int, default=16, help="length of the codes (%(default)s)")
    run.add_argument(
        "--alpha",
        type=float,
        default=1.0,
        help="GRH: weight of the graph, between 0 and 1 (%(default)s)",
    )
    run.add_argument(
        "--iterations", type=int, default=1, help="GRH: rounds of steps A and B (%(default)s)"
    )
    run.add_argument(
        "--learner", choices=_LEARNERS, default="svm", help="GRH: what learns a bit (%(default)s)"
    )
    run.add_argument(
        "--max-radius", type=int, default=10, help="largest Hamming radius, in bits (%(default)s)"
    )
    run.add_argument(
        "--seeds", type=int, default=5, help="draws of the hyperplanes to average (%(default)s)"
    )
    run.add_argument(
        "--output",
        default="output",
        help="where the dataset's folder of results goes (%(default)s)",
    )
    run.add_argument(
        "--check", action="store_true", help="compare the figures with those in results/"
    )
    run.add_argument(
        "--record", action="store_true", help="write the figures to results/ (for maintainers)"
    )
    run.set_defaults(action=_run)
    data = commands.add_parser(
        "data",
        parents=[home],
        help="download, verify and cache a dataset",
        description="Download CIFAR-10 (170 MB), verify it, compute its GIST features (about a "
        "minute) and cache them. An interrupted download resumes.",
    )
    data.add_argument("--dataset", choices=["digits", "cifar10", "cifar10-mat"],
                      default="cifar10", help="what to prepare (%(default)s)")  # fmt: skip
    data.add_argument("--url", help="a mirror to download from instead of the official host")
    data.add_argument(
        "--archive", metavar="FILE", help="a file on this machine to use instead of a download"
    )
    data.set_defaults(action=_data)
    info = commands.add_parser(
        "info",
        parents=[home],
        help="say which data are on this machine",
        description="Say which data are on this machine, where, and what 'auto' means now.",
    )
    info.set_defaults(action=_info)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error, or 130 after Ctrl-C.
    """
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
    except (ValueError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished files are kept, unfinished ones are not", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

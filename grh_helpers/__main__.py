"""The whole experiment from a shell: ``python -m grh_helpers run``, ``data`` or ``info``.

run   Hash the data with LSH, ITQ and GRH, search within every Hamming radius and among as many
      candidates for every query, rank by Hamming distance, print the tables, and write figures and
      CSV files. With --features: is hashing worth it on vectors of one's own?

      --dataset NAME    auto, digits, cifar10 or cifar10-mat; by default $GRH_DATASET, else auto
      --data-home DIR   where data and caches are; by default $GRH_DATA_HOME, else a cache folder
      --output DIR      where the folder of results goes (output)
      --bits N          length of the codes, 1 to 1024 (16)
      --alpha X         GRH: weight of the graph, 0 to 1 (1.0)
      --iterations N    GRH: rounds of steps A and B (1)
      --learner NAME    GRH: what learns a bit, svm, ridge or kernel (svm)
      --max-radius N    largest Hamming radius, in bits (10)
      --seeds N         draws of the hyperplanes to average, 1 to 1000 (5)
      --check           compare the figures with those in results/, all other options as they are
      --record          write the figures to results/ (for maintainers), likewise

      --features FILE   your own vectors, .npy or .npz, instead of a data set
      --labels FILE     their classes, for GRH, precision and mAP

data  Download, verify and cache a data set. CIFAR-10 is 170 MB, and its GIST features take about a
      minute. An interrupted download resumes.

      --dataset NAME, --data-home DIR   as above; auto is cifar10
      --url URL         a mirror to download from instead of the official host
      --archive FILE    a file on this machine to use instead of a download

info  Say which data are on this machine, where (--data-home DIR), and what auto means now.
"""

import argparse
import html
import io
import os
import sys
import tempfile
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib

from grh_helpers import GRH, ITQ, LSH, Dataset, plots
from grh_helpers.checkpoints import CheckpointError, checkpoint
from grh_helpers.codes import check_whole
from grh_helpers.compare import compare, load_array, readable, report, verdict
from grh_helpers.datasets import DATASETS, available, data_home, dataset_name, load_dataset, prepare
from grh_helpers.evaluation import mean_over_queries
from grh_helpers.experiment import map_table, ranking_split, sweep_draws

__all__ = ["main"]

_MODEL = {"bits": 16, "alpha": 1.0, "iterations": 1, "learner": "svm", "max-radius": 10, "seeds": 5}
_WHERE = {"data-home": None, "dataset": None, "output": "output"}
# Which options go together, with their default values.
_OPTIONS = {
    "run": _WHERE | _MODEL,
    "run --check": _WHERE | {"check": False},
    "run --record": _WHERE | {"record": False},
    "run --features": {"features": None, "labels": None, "output": "output"},
    "data": {"data-home": None, "dataset": None, "url": None, "archive": None},
    "info": {"data-home": None},
}


def _say(*texts: str) -> None:
    """Print at once; when the reader of a pipe has left, as after `| head -1`, go on in silence."""
    try:
        print(*texts, sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _results(folder: Path) -> Iterator[Path]:
    """Make a folder, and in it a temporary one whose files take their places at the end.

    Where nothing can be written, this fails at once and not after minutes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as temporary:
        yield Path(temporary)
        for path in sorted(Path(temporary).iterdir()):
            os.replace(path, folder / path.name)


def _run(options: argparse.Namespace) -> None:
    bits, seeds = options.bits, options.seeds
    check_whole("--bits", bits, 1, 1024)
    check_whole("--seeds", seeds, 1, 1000)
    check_whole("--max-radius", options.max_radius, 0)
    grh = partial(GRH, alpha=options.alpha, n_iter=options.iterations, learner=options.learner)
    swept = {"LSH": LSH, f"GRH {options.learner}": grh}
    _say("loading the data; where GIST is not cached, computing it takes about a minute")
    data = load_dataset(options.dataset, options.data_home)
    split, folder = data.split(), Path(options.output) / data.name
    with _results(folder) as unfinished:
        sizes = map(len, (split.queries, split.train, split.database))
        sizes = "{:,} queries, {:,} training images, {:,} in the database".format(*sizes)
        _say(f"{data.name}: {sizes}; {bits} bits, {seeds} draws")
        each = sweep_draws(split, swept, range(min(options.max_radius, bits) + 1), bits, seeds)
        sweep = mean_over_queries(each, ["method", "seed", "radius"])
        means = sweep.drop(columns="seed").groupby(["method", "radius"], sort=False).mean()
        means["p95"] = each.groupby(["method", "radius"])["candidates"].quantile(0.95)
        means["query_us"] = 1e6 * means.pop("seconds")
        _say("the same number of candidates for every query")
        methods = {"LSH": LSH, "ITQ": ITQ, **swept}
        budget = compare(split, methods, [bits], [100, 300, 1000], seeds=seeds)
        budget = budget.drop(columns="map")  # other queries than those of the published figures
        exact = budget["precision"][0]
        _say("ranking the whole database by Hamming distance, for the mean average precision")
        ranking = map_table(ranking_split(data), seeds=min(seeds, 3))
        maps = ranking.groupby(["method", "n_bits"], sort=False)["map"].mean()
        tables = {"radius_sweep": sweep, "budget": budget, "mean_average_precision": ranking}
        for name, table in tables.items():
            table.to_csv(unfinished / f"{name}.csv", index=False)
        figures = {"precision": plots.plot_precision(sweep, exact=exact)}
        figures |= {"equal_cost": plots.plot_equal_cost(sweep), "time": plots.plot_time(sweep)}
        for name, ax in figures.items():
            ax.figure.savefig(unfinished / f"{name}.png", dpi=150)
            plots.plt.close(ax.figure)
    found = {
        "precision@10 by radius; p95: 95 % of the queries have no more candidates": means,
        "the same number of candidates for every query; intervals over queries and draws": budget,
        f"mean average precision of the Hamming ranking, {min(seeds, 3)} draws": maps.to_frame(),
    }
    for title, table in found.items():
        _say(f"\n{title}", readable(table.reset_index()).to_string(index=False))
    _say(f"\nexact cosine search: precision@10 {exact:.3f}; figures and tables are in {folder}")
    if options.check or options.record:
        _check(data.name, means, budget, exact, maps, options.record)


def _check(dataset: str, means, budget, exact: float, maps, record: bool) -> None:
    """Compare the run with the recorded one.

    Tolerances: one retrieved image more or less for one query is 1/1,200 of a precision@10, and
    the mean of five draws a fifth of that. A library that rounds a projection differently flips
    single bits, which moves a few images: 0.005 allows for that, and no effect reported in the
    series is that small. Counts of candidates get 2 %, their 95th percentile 5 %.
    """
    table = means.drop(columns="query_us").set_axis([f"{name} r{r}" for name, r in means.index])
    # Where no query is empty both precisions are one quantity, which is recorded once.
    table["precision_nonempty"] = table["precision_nonempty"].where(table["nonempty"] < 1)
    absolute = dict.fromkeys(table, 0.01) | {"precision": 0.005, "candidates": 0.5, "p95": 1}
    relative = dict.fromkeys(table, 0.0) | {"candidates": 0.02, "p95": 0.05}
    checkpoint("run", table, absolute, relative=relative, dataset=dataset, record=record)
    checkpoint("run_exact_precision", exact, 0.001, dataset=dataset, record=record)
    checkpoint("run_map", maps, 0.005, dataset=dataset, record=record)
    rows = budget.iloc[1:].set_index(["method", "budget"]).filter(regex="precision|recall")
    checkpoint("run_budget", rows, 0.005, dataset=dataset, record=record)


def _run_own(options: argparse.Namespace) -> None:
    path = Path(options.features).resolve()
    features = load_array(path, "features")
    labels = load_array(options.labels, "labels") if options.labels else None
    folder = Path(options.output) / path.stem
    old = folder / "report.html"
    if old.exists() and f"<code>{html.escape(str(path))}</code>" not in old.read_text("utf-8"):
        todo = "choose another folder (--output), or remove it"
        raise ValueError(f"{old} is the report on another file; {todo}.")
    with _results(folder) as unfinished:
        _say(f"{path}: shape {features.shape}; exact search, LSH, ITQ, GRH")
        data = Dataset.from_arrays(features, labels)
        check_whole("The number of rows", len(data), 50)
        split = data.split(min(200, len(data) // 10), min(2000, len(data) // 3))
        table = compare(split, seeds=3 if len(data) <= 100_000 else 2)
        report(table, path, unfinished)
    _say(readable(table).to_string(index=False), "", *verdict(table), f"\nthe report is {old}")


def _data(options: argparse.Namespace) -> None:
    name = options.dataset or os.environ.get("GRH_DATASET") or "auto"
    name = "cifar10" if name == "auto" else name
    if name == "digits" and (options.url or options.archive):
        raise ValueError("The digits come with scikit-learn; leave out --url and --archive.")
    _say(f"preparing {name}: a download may take long, computing GIST about a minute")
    path = prepare(name, options.data_home, url=options.url, archive=options.archive)
    _say(f"{name} is ready in {path}")


def _info(options: argparse.Namespace) -> None:
    found = available(options.data_home)
    _say(f"data home: {data_home(options.data_home)}")
    for name, about in DATASETS.items():
        state, path = found.get(name, ("means", dataset_name("auto", options.data_home)))
        _say(f"{name:<12} {state:<9} {path or about}")


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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal shows ? for ✓
    raw = argparse.RawDescriptionHelpFormatter  # keeps the lines of the text above
    parser = argparse.ArgumentParser("python -m grh_helpers", None, __doc__, formatter_class=raw)
    parser.add_argument("command", choices=["run", "data", "info"])
    defaults = dict(ChainMap(*_OPTIONS.values()))
    for name, default in defaults.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default or "")}
        parser.add_argument(f"--{name}", default=default, help=argparse.SUPPRESS, **kind)
    options = parser.parse_args(arguments)
    values = {name.replace("_", "-"): value for name, value in vars(options).items()}
    given = {name for name, default in defaults.items() if values[name] != default}
    extra = [f" --{name}" for name in ("features", "check", "record") if name in given]
    mode = options.command + "".join(extra[:1])
    for name in sorted(given - {*_OPTIONS.get(mode, [])}):
        fitting = " or ".join(other for other, names in _OPTIONS.items() if name in names)
        parser.error(f"--{name} goes with {fitting}, not with {mode}")
    matplotlib.use("agg")
    plots.use_style()
    actions = {"run --features": _run_own, "data": _data, "info": _info}
    try:
        actions.get(mode, _run)(options)
    except (ValueError, OSError, CheckpointError) as error:
        todo = "; make room there, or choose another folder." if isinstance(error, OSError) else ""
        print(f"error: {error}{todo}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; finished files are kept, unfinished ones are not", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

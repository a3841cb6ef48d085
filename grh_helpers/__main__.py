"""The whole experiment from a shell: ``python -m grh_helpers run``, ``data`` or ``info``."""

from __future__ import annotations

import argparse
import html
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd

from grh_helpers import GRH, ITQ, LSH, plots
from grh_helpers._files import atomic
from grh_helpers.checkpoints import CheckpointError, checkpoint, results_file
from grh_helpers.compare import compare, load_array, measure, readable, report, verdict
from grh_helpers.datasets import DATASETS, available, data_home, load_dataset, prepare
from grh_helpers.experiment import exact_precision, map_table, ranking_split, sweep_draws

__all__ = ["main"]


def _say(text: str) -> None:
    """Print at once; when the reader of a pipe has left, as after `| head -1`, go on in silence."""
    try:
        print(text, flush=True)
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


# Options of `run`: type, default, smallest and largest value, and what --help says.
_NUMBERS = {
    "bits": (int, 16, 1, 1024, "length of the codes"),
    "alpha": (float, 1.0, 0, 1, "GRH: weight of the graph, between 0 and 1"),
    "iterations": (int, 1, 1, 1000, "GRH: rounds of steps A and B"),
    "max_radius": (int, 10, 0, 1024, "largest Hamming radius, in bits"),
    "seeds": (int, 5, 1, 1000, "draws of the hyperplanes to average"),
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _run(options: argparse.Namespace) -> None:
    """Run the whole experiment and draw its figures.

    Hash the data with LSH, ITQ and GRH, search within every Hamming radius and among as many
    candidates for every query, rank by Hamming distance, print the tables, and write figures and
    CSV files. With --features: is hashing worth it on vectors of one's own?
    """
    for name, (_, _, low, high, _) in _NUMBERS.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise ValueError(f"{_flag(name)} must lie between {low} and {high}, got {value}.")
    default = vars(_parser().parse_args(["run"]))
    given = {name for name, value in vars(options).items() if value != default[name]}
    fitting = {"features", "labels"} if options.features else {"dataset", "check", "record"}
    wrong = given - fitting - {"output", "data_home"}
    if wrong and given & {"features", "labels", "check", "record"}:
        need = "--labels need --features; --features, --check and --record mean the default options"
        raise ValueError(f"{need}; leave out {' and '.join(map(_flag, sorted(wrong)))}.")
    matplotlib.use("agg")
    plots.use_style()
    (_run_own if options.features else _run_dataset)(options)


def _run_dataset(options: argparse.Namespace) -> None:
    found = available(options.data_home).get(options.dataset)
    if found and found.state == "raw only":
        _say(f"{found.name}: computing the GIST features, once; this takes about a minute")
    data = load_dataset(options.dataset, options.data_home)
    split, folder = data.split(), Path(options.output) / data.name
    bits, seeds, learned = options.bits, options.seeds, f"GRH {options.learner}"
    grh = partial(GRH, alpha=options.alpha, n_iter=options.iterations, learner=options.learner)
    methods = {"LSH": LSH, "ITQ": ITQ, learned: grh}
    swept, radii = {"LSH": LSH, learned: grh}, range(min(options.max_radius, bits) + 1)
    with _results(folder) as unfinished:
        _say(
            f"{data.name}: {len(split.queries):,} queries, {len(split.train):,} training images, "
            f"{len(split.database):,} in the database; {bits} bits, {seeds} draws"
        )
        sweep = sweep_draws(split, swept, radii, bits, seeds, progress=True)
        means = sweep.drop(columns="seed").groupby(["method", "radius"], sort=False).mean()
        # Times are those of all queries at once, and so have no percentile.
        each = sweep_draws(split, swept, radii, bits, seeds, per_query=True, progress=True)
        means["p95"] = each.groupby(["method", "radius"])["candidates"].quantile(0.95)
        exact = exact_precision(split).mean()
        _say("the same number of candidates for every query")
        budget = measure(split, methods, [bits], [100, 300, 1000], seeds=seeds, progress=True)
        budget = budget.drop(columns="map")  # other queries than those of the published figures
        _say("ranking the whole database by Hamming distance, for the mean average precision")
        draws = min(seeds, 3)
        ranking = map_table(ranking_split(data), seeds=draws, progress=True)
        maps = ranking.groupby(["method", "n_bits"], sort=False)["map"].mean().unstack()
        tables = {"radius_sweep": sweep, "budget": budget, "mean_average_precision": ranking}
        for name, table in tables.items():
            table.to_csv(unfinished / f"{name}.csv", index=False)
        _draw(unfinished, sweep, exact)
    _say(readable(means.reset_index()).to_string(index=False))
    _say("precision@10; p95: 95 % of the queries have no more candidates, which time follows")
    _say(f"\nexact cosine search over the whole database: precision@10 {exact:.3f}\n")
    _say("with the same number of candidates for every query; intervals over queries and draws")
    _say(readable(budget).to_string(index=False))
    _say(f"\nmean average precision of the Hamming ranking, {draws} draws")
    _say(maps.to_string(float_format="{:.3f}".format))
    _say(f"\nfigures and tables are in {folder}")
    if options.check or options.record:
        _check(data.name, means, budget, exact, maps, options.record)
    if options.record:
        with atomic(results_file(data.name).with_name(f"{data.name}_precision.png")) as file:
            file.write((folder / "lsh_grh_precision.png").read_bytes())


def _draw(folder: Path, sweep: pd.DataFrame, exact: float) -> None:
    figures = {"equal_cost": plots.plot_equal_cost(sweep)}
    for name, rows in {"lsh": sweep[sweep["method"] == "LSH"], "lsh_grh": sweep}.items():
        figures[f"{name}_precision"] = plots.plot_precision(rows, exact=exact)
        figures[f"{name}_time"] = plots.plot_time(rows)
    for name, ax in figures.items():
        ax.figure.savefig(folder / f"{name}.png", dpi=150)
        plots.plt.close(ax.figure)


def _check(dataset: str, means, budget, exact: float, maps, record: bool) -> None:
    """Compare the run with the recorded one.

    Tolerances: one retrieved image more or less for one query is 1/1,200 of a precision@10, and
    the mean of five draws a fifth of that. A library that rounds a projection differently flips
    single bits, which moves a few images: 0.005 allows for that, and no effect reported in the
    series is that small. Counts of candidates get 2 %, their 95th percentile 5 %.
    """
    table = means.drop(columns="seconds").set_axis([f"{name} r{r}" for name, r in means.index])
    # Where no query is empty both precisions are one quantity, which is recorded once.
    table["precision_nonempty"] = table["precision_nonempty"].where(table["nonempty"] < 1)
    absolute = {"precision": 0.005, "precision_nonempty": 0.01, "nonempty": 0.01}
    absolute |= {"candidates": 0.5, "p95": 1}
    relative = {**dict.fromkeys(absolute, 0.0), "candidates": 0.02, "p95": 0.05}
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
        _say(f"{path}: {len(features):,} rows; exact search, LSH, ITQ, GRH")
        seeds = 3 if len(features) <= 100_000 else 2
        table = compare(features, labels, seeds=seeds, progress=True)
        page, picture = report(table, path)
        (unfinished / "report.html").write_text(page, encoding="utf-8")
        (unfinished / "recall.png").write_bytes(picture)
        table.to_csv(unfinished / "comparison.csv", index=False)
    _say(readable(table).to_string(index=False))
    _say("\n".join(["", *verdict(table), f"\nthe report is {old}"]))


def _data(options: argparse.Namespace) -> None:
    """Download, verify and cache a dataset.

    CIFAR-10 is 170 MB, and its GIST features take about a minute. An interrupted download resumes.
    """
    name = "cifar10" if options.dataset == "auto" else options.dataset
    if name == "digits" and (options.url or options.archive):
        raise ValueError("The digits come with scikit-learn; leave out --url and --archive.")
    if name != "digits":
        _say(f"preparing {name}: a download may take long, computing features about a minute")
    path = prepare(name, options.data_home, url=options.url, archive=options.archive)
    _say(f"{name} is ready in {path}")


def _info(options: argparse.Namespace) -> None:
    """Say which data are on this machine, where, and what 'auto' means now."""
    found = available(options.data_home)
    _say(f"data home: {data_home(options.data_home)}")
    for name, about in DATASETS.items():
        entry = found[name]
        where = f"{entry.size / 1e6:7.0f} MB  {entry.path}" if entry.path else about
        state = f"{entry.state:<9} {where}" if name != "auto" else f"means {entry.name} now"
        _say(f"{name:<12} {state}")


def _parser() -> argparse.ArgumentParser:
    about = "Learning to hash: LSH against Graph Regularised Hashing, data to figures."
    parser = argparse.ArgumentParser(prog="python -m grh_helpers", description=about)
    commands = parser.add_subparsers(required=True, metavar="run | data | info")
    for action in (_run, _data, _info):
        name, text = action.__name__[1:], action.__doc__
        command = commands.add_parser(name, description=text, help=text.splitlines()[0])
        command.set_defaults(action=action)
        text = "where data and caches are; by default $GRH_DATA_HOME, else a cache folder of yours"
        command.add_argument("--data-home", help=text, metavar="FOLDER")
    run, data = (commands.choices[name].add_argument for name in ("run", "data"))
    default, text = os.environ.get("GRH_DATASET") or "auto", "by default $GRH_DATASET, else auto"
    run("--dataset", default=default, choices=[*DATASETS], help=text)
    data("--dataset", default=default, choices=[*DATASETS], help=f"{text}, which is cifar10")
    for name, (kind, default, _, _, text) in _NUMBERS.items():
        run(_flag(name), type=kind, default=default, help=f"{text} (%(default)s)")
    learners = ["svm", "ridge", "kernel"]
    run("--learner", choices=learners, default="svm", help="GRH: what learns a bit (%(default)s)")
    run("--features", metavar="FILE", help="your own vectors, .npy or .npz, instead of a data set")
    run("--labels", metavar="FILE", help="their classes, for GRH, precision and mAP")
    run("--output", default="output", help="where the folder of results goes (%(default)s)")
    run("--check", action="store_true", help="compare the figures with those in results/")
    run("--record", action="store_true", help="write the figures to results/ (for maintainers)")
    data("--url", help="a mirror to download from instead of the official host")
    data("--archive", metavar="FILE", help="a file on this machine to use instead of a download")
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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an ASCII terminal shows ? for ✓
    options = _parser().parse_args(arguments)
    try:
        options.action(options)
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

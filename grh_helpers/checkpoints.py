"""Compare a table with the one that was recorded for this data set, so that nothing drifts."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock

from grh_helpers.datasets import atomic, dataset_name

__all__ = ["CheckpointError", "checkpoint", "recorded", "results_file"]

_PACKAGE = Path(__file__).resolve().parent
_IN_CHECKOUT = (_PACKAGE.parent / "pyproject.toml").exists()


class CheckpointError(AssertionError):
    """Figures differ from the recorded ones by more than their tolerance."""


def results_file(dataset: str) -> Path:
    """Path of the recorded figures of a data set.

    Parameters
    ----------
    dataset : str
        Name of a data set, such as "digits".

    Returns
    -------
    Path
        ``<dataset>.json`` in ``$GRH_RESULTS``, else in ``results/`` of the checkout, else in the
        copy that an installed package carries.
    """
    default = (_PACKAGE.parent if _IN_CHECKOUT else _PACKAGE) / "results"
    return Path(os.environ.get("GRH_RESULTS") or default) / f"{dataset}.json"


def recorded(dataset: str) -> dict[str, float]:
    """Read all recorded figures of a data set.

    Parameters
    ----------
    dataset : str
        Name of a data set.

    Returns
    -------
    dict of str to float
        Empty if none is recorded.

    Raises
    ------
    ValueError
        If the file is not JSON, as after a merge by hand: restore it, or record anew.
    """
    path = results_file(dataset)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def checkpoint(
    name: str,
    values: float | Mapping | pd.Series | pd.DataFrame,
    tolerance: float | Mapping[str, float] = 0.0,
    *,
    relative: float | Mapping[str, float] = 0.0,
    dataset: str | None = None,
    record: bool = False,
) -> None:
    """Print one line if all figures of a table are as recorded, and raise if one is not.

    Parameters
    ----------
    name : str
        What the table is, such as "ch5_paired": the first part of its figures' keys.
    values : number, dict, Series or DataFrame
        The figures just computed. The key of a figure is `name`, its row and its column, joined by
        "_", in lower case. NaN in a table is no figure.
    tolerance, relative : float or dict of column (or key) to float, default=0
        A figure agrees up to ``tolerance + relative * |recorded|``. Counts and arithmetic need
        none; figures that rest on floating-point sums may differ a little between machines.
    dataset : str, optional
        Data set that the figures belong to; by default the one that `load_dataset` returns without
        a name.
    record : bool, default=False
        Write the figures into the file first; the environment variable ``GRH_RECORD=1`` does too.

    Raises
    ------
    CheckpointError
        If figures differ or are not recorded; the message lists each with both values.
    ValueError
        If two figures have one key or there is none to compare.
    """
    dataset = dataset or dataset_name()
    figures = _figures(name, values, tolerance, relative)
    if record or os.environ.get("GRH_RECORD") == "1":
        _record(figures, dataset)
    wrong = _wrong(figures, dataset)
    if len(wrong):
        head = f"{len(wrong)} of {len(figures)} figures are not as recorded for {dataset}"
        cause = "has the code, the data or a library changed? (GRH_RECORD=1 records anew)"
        raise CheckpointError(f"{head}: {cause}\n{wrong.to_string()}")
    print(f"✓ {len(figures)} figure{'s' if len(figures) > 1 else ''} as recorded")


def _figures(name: str, values, tolerance, relative) -> pd.DataFrame:
    """Value, tolerance and relative tolerance of each figure; the index holds its key."""
    if isinstance(values, pd.DataFrame):
        values = values.stack()
    elif not isinstance(values, Mapping | pd.Series):
        values = {"": values}
    values = pd.Series(values, dtype=float).dropna()
    columns, bounds = values.index.get_level_values(-1), (tolerance, relative)
    tolerance, relative = (columns.map(b) if isinstance(b, Mapping) else b for b in bounds)
    figures = pd.DataFrame({"value": values, "tolerance": tolerance, "relative": relative})
    labels = values.index.to_frame().map(_slug).to_numpy()
    figures.index = ["_".join([name, *row]).rstrip("_") for row in labels]
    if figures.empty or not figures.index.is_unique:
        raise ValueError(f"{name} needs figures, a key of its own for each: not {[*figures.index]}")
    return figures


def _slug(label) -> str:
    """`"GRH, svm"` → `grh_svm`; 2.0 → `2`."""
    label = f"{label:g}" if isinstance(label, float) else str(label)
    return re.sub(r"[^0-9a-zα-ω]+", "_", label.lower()).strip("_")


def _wrong(figures: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Find the figures that are not as recorded, and what is recorded: NaN if nothing is."""
    known = pd.Series(recorded(dataset), dtype=float).reindex(figures.index)
    # The slack of 1e-9 is for decimal rounding in the file, not for the figure.
    bounds = {"atol": figures["tolerance"] + 1e-9, "rtol": figures["relative"] + 1e-9}
    return figures.assign(recorded=known)[~np.isclose(figures["value"], known, **bounds)]


def _record(figures: pd.DataFrame, dataset: str) -> None:
    path = results_file(dataset)
    if not (_IN_CHECKOUT or os.environ.get("GRH_RESULTS")):
        raise ValueError("Figures are recorded in a checkout only; set GRH_RESULTS to a folder.")
    with FileLock(path.with_name(".grh_helpers.lock")):  # others may record as well
        # A figure that still agrees keeps its digits, so recording twice leaves a clean diff.
        new = _wrong(figures, dataset)["value"].map("{:.12g}".format).astype(float)
        known = recorded(dataset) | new.to_dict()
        with atomic(path, "w") as file:
            file.write(json.dumps(known, indent=0, sort_keys=True, allow_nan=False) + "\n")

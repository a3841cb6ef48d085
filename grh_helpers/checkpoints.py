"""Compare a number with the one that was recorded for this dataset, so that nothing drifts."""

from __future__ import annotations

import json
import math
import os
import tempfile
from pathlib import Path

from grh_helpers.datasets import available

__all__ = ["CheckpointError", "checkpoint", "recorded", "results_file"]


class CheckpointError(AssertionError):
    """A number differs from the recorded one by more than its tolerance."""


def results_file(dataset: str) -> Path:
    """Path of the recorded figures of a dataset.

    Parameters
    ----------
    dataset : str
        Name of a dataset, such as "digits".

    Returns
    -------
    Path
        ``<dataset>.json`` in ``$GRH_RESULTS``, else in ``results/`` beside the package.
    """
    folder = os.environ.get("GRH_RESULTS") or Path(__file__).resolve().parent.parent / "results"
    return Path(folder) / f"{dataset}.json"


def recorded(dataset: str) -> dict[str, dict[str, float]]:
    """Read all recorded figures of a dataset.

    Parameters
    ----------
    dataset : str
        Name of a dataset.

    Returns
    -------
    dict
        Name of a figure → ``{"value": ..., "tolerance": ...}``; empty if none is recorded.

    Raises
    ------
    ValueError
        If the file is not JSON.
    """
    path = results_file(dataset)
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path.name} is not valid JSON ({error}); restore it with git, or record it anew."
        ) from error


def checkpoint(
    name: str,
    value: float,
    tolerance: float = 0.0,
    dataset: str | None = None,
    *,
    record: bool = False,
) -> None:
    """Print ✓ if a number agrees with the recorded one, and raise if not.

    With `record`, or the environment variable ``GRH_RECORD=1``, the number is recorded first.

    Parameters
    ----------
    name : str
        Name of the figure, such as "lsh_precision_r2".
    value : float
        The number just computed.
    tolerance : float, default=0
        Largest absolute difference that still agrees. Counts and arithmetic need none; figures
        that rest on floating-point sums may differ in a bit or two between machines.
    dataset : str, optional
        Dataset that the number belongs to; by default the one that `load_dataset` returns
        without a name.

    record : bool, default=False
        Write the number into the file.

    Raises
    ------
    CheckpointError
        If the number differs, or none is recorded; the message holds both numbers.
    ValueError
        If the value is not a finite number.
    """
    dataset = dataset or os.environ.get("GRH_DATASET") or "auto"
    if dataset == "auto":
        dataset = available()["auto"].name
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{name} is {value}, which is not a number that can be compared.")
    if record or os.environ.get("GRH_RECORD") == "1":
        _record(name, value, tolerance, dataset)
    figures = recorded(dataset)
    if name not in figures:
        raise CheckpointError(
            f"{name} has no recorded figure for {dataset}; record it with GRH_RECORD=1."
        )
    expected = figures[name]["value"]
    # The slack of 1e-9 is for decimal rounding in the file, not for the figure.
    if not abs(value - expected) <= tolerance + 1e-9 * max(1.0, abs(expected)):
        raise CheckpointError(
            f"{name} is {value:.6g} but {expected:.6g} is recorded for {dataset}, and the "
            f"tolerance is {tolerance:g}: has the code, the data or a library changed?"
        )
    print(f"✓ {name}")


def _record(name: str, value: float, tolerance: float, dataset: str) -> None:
    path = results_file(dataset)
    figures = recorded(dataset)
    known = figures.get(name)
    # A figure that still agrees keeps its digits, so recording twice leaves a clean diff.
    if known is None or abs(known["value"] - value) > tolerance or known["tolerance"] != tolerance:
        figures[name] = {"value": float(f"{value:.12g}"), "tolerance": tolerance}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(sorted(figures.items())), indent=1) + "\n"
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, suffix=".tmp", delete=False
        ) as file:
            file.write(text)
        os.replace(file.name, path)

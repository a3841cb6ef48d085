"""Run the notebooks in place, and write the blank exercises from their solutions.

python notebooks/_build.py run [--record] [--fresh] [NOTEBOOK ...]
python notebooks/_build.py exercises
python notebooks/_build.py links       one click: Colab and Binder, once pyproject.toml has an address
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

import nbformat
import numpy as np
from matplotlib.image import imread
from nbclient import NotebookClient
from tqdm import tqdm

FOLDER = Path(__file__).resolve().parent
CHAPTERS = sorted(FOLDER.glob("[0-9]*.ipynb"))
APPENDICES = sorted(FOLDER.glob("appendix_*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("[0-9]*.ipynb"))
INSTALL = """import importlib.util

if importlib.util.find_spec("grh_helpers") is None:
    get_ipython().run_line_magic("pip", "install -q git+{0}@{1}")"""
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def tags(cell) -> list[str]:
    """Tags of a cell."""
    return cell.metadata.get("tags", [])


def write(notebook, path: Path) -> None:
    """Write a notebook under a temporary name, then rename it; nothing if it is unchanged."""
    text = nbformat.writes(notebook) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)


def same_to_the_eye(png: str, other: str) -> bool:
    """Whether two pictures, as base64, differ in less than a thousandth of their pixels.

    Rounding on another processor moves the edge of an area or of a letter by a pixel.
    """
    one, two = (imread(io.BytesIO(base64.b64decode(text))) for text in (png, other))
    if one.shape != two.shape:
        return False
    return bool((np.abs(one - two).max(axis=-1) > 0.1).mean() < 0.001)


def keep_picture(before, after):
    """Return the output of before if its picture is equal to the eye and nothing else changed."""
    old, new = before.get("data", {}), after.get("data", {})
    if "image/png" not in old or "image/png" not in new or before.metadata != after.metadata:
        return after
    return before if same_to_the_eye(old["image/png"], new["image/png"]) else after


def execute(path: Path, fresh: bool, discard: bool) -> None:
    """Run one notebook from top to bottom in a clean kernel and store its outputs.

    Stored outputs stay where a cell's code is the same and its output either did not change, is a
    timing (tag nbval-ignore-output), or shows pictures that are equal to the eye, so that running
    again leaves no difference behind, on another machine either.
    Cells tagged cifar-images show photographs that may not be redistributed: on any dataset but
    the digits their output is not stored. With `discard` nothing is stored.
    """
    notebook = nbformat.read(path, as_version=4)
    stored = {cell.id: (cell.source, cell.get("outputs", [])) for cell in notebook.cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        coalesce_streams=True,  # else the moment at which a line is flushed would show
        resources={"metadata": {"path": path.parent}},
        extra_arguments=["--log-level=40"],  # errors only: ipykernel warns of plain TCP each time
    ).execute()
    if discard:
        return
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("execution", None)
        source, before = stored[cell.id]
        timing = "nbval-ignore-output" in tags(cell) and len(before) == len(cell.outputs)
        if "cifar-images" in tags(cell):
            cell.outputs = []
        elif not fresh and source == cell.source and before:
            if timing:
                cell.outputs = before
            elif len(before) == len(cell.outputs):
                cell.outputs = list(map(keep_picture, before, cell.outputs))
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    write(notebook, path)


def blank(solution):
    """Return a solution notebook without its answers and teacher's notes."""
    cells = []
    for cell in solution.cells:
        if {"solution", "teacher"} & set(tags(cell)):
            continue
        cell = nbformat.from_dict(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = re.sub(r"\bSolutions\b", "Exercises", cell.source, count=1)
            cell.source = cell.source.replace("notebooks/solutions/", "notebooks/exercises/")
        cells.append(cell)
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )


def exercises() -> None:
    """Write notebooks/exercises/ from notebooks/solutions/."""
    (FOLDER / "exercises").mkdir(exist_ok=True)
    for path in SOLUTIONS:
        write(blank(nbformat.read(path, as_version=4)), FOLDER / "exercises" / path.name)


def address(project: Path = FOLDER.parent / "pyproject.toml") -> tuple[str, str]:
    """Return repository and branch that [tool.grh] names: "" as long as there is none."""
    settings = tomllib.loads(project.read_text(encoding="utf-8"))["tool"]["grh"]
    repository, branch = settings["repository"], settings["branch"]
    if repository and not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", repository):
        sys.exit(
            "repository in pyproject.toml must be empty or like https://github.com/OWNER/NAME "
            f"(Colab opens no other), got {repository!r}."
        )
    return repository.removesuffix(".git"), branch


def link(notebook, name: str, repository: str, branch: str):
    """Return a notebook with its links to Colab and Binder, or without them if there is no address.

    The links stand under the title. A folded cell before the first code installs the package where
    it is missing, as on Colab. What an earlier call has put in is replaced.
    """
    cells = [nbformat.from_dict(cell) for cell in notebook.cells if cell.id != "links-install"]
    title = cells[0]
    title.source = re.sub(r"\n\n\[Open in Colab\]\(.*", "", title.source, count=1)
    if repository:
        place = quote(f"notebooks/{name}")
        project = repository.removeprefix("https://github.com/")
        colab = f"https://colab.research.google.com/github/{project}/blob/{branch}/{place}"
        binder = f"https://mybinder.org/v2/gh/{project}/{branch}?urlpath=lab/tree/{place}"
        heading, _, rest = title.source.partition("\n")
        badges = f"[Open in Colab]({colab}) · [Open in Binder]({binder})"
        title.source = f"{heading}\n\n{badges}\n{rest}".rstrip("\n")
        cell = nbformat.v4.new_code_cell(INSTALL.format(repository, branch), id="links-install")
        # remove-cell: the book leaves it out
        cell.metadata = {"jupyter": {"source_hidden": True}, "tags": ["links", "remove-cell"]}
        first = next(i for i, cell in enumerate(cells) if cell.cell_type == "code")
        cells.insert(first, nbformat.from_dict(cell))
    code = [cell for cell in cells if cell.cell_type == "code"]
    if any(cell.execution_count for cell in code):  # it has been run: one cell more or less
        for count, cell in enumerate(code, start=1):
            cell.execution_count = count
    return nbformat.from_dict({**notebook, "cells": cells})


def links(folder: Path = FOLDER) -> None:
    """Write the links to Colab and Binder into every notebook, or take them out."""
    found = address(folder.parent / "pyproject.toml")
    for path in sorted(folder.glob("**/[0-9a]*.ipynb")):
        name = path.relative_to(folder).as_posix()
        write(link(nbformat.read(path, as_version=4), name, *found), path)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run notebooks in place")
    run.add_argument("notebooks", nargs="*", type=Path, help="by default all of them")
    run.add_argument("--record", action="store_true", help="record the checkpoints' figures")
    run.add_argument(
        "--discard", action="store_true", help="leave stored outputs alone, to record only"
    )
    run.add_argument("--fresh", action="store_true", help="replace stored timings too")
    commands.add_parser("exercises", help="write the blank exercises")
    commands.add_parser("links", help="links to Colab and Binder, by [tool.grh] in pyproject.toml")
    options = parser.parse_args()
    if options.command != "run":
        exercises() if options.command == "exercises" else links()
        return
    if options.record:
        os.environ["GRH_RECORD"] = "1"
    for path in tqdm(options.notebooks or CHAPTERS + APPENDICES + SOLUTIONS, disable=None):
        execute(path.resolve(), options.fresh, options.discard)


if __name__ == "__main__":
    sys.exit(main())

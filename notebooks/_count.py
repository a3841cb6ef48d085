"""Count what a reader has to read: words of prose, visible lines of code, and how many teach.

python notebooks/_count.py [NOTEBOOK ...]

A line of code is a line that holds code: no blank, no comment, no docstring. It is visible unless
its cell is folded (``source_hidden``). A visible line teaches unless the statement it belongs to
imports, prints, displays, compares with recorded figures or draws; the head of a loop, function or
condition teaches if something inside it does.

Minutes are 150 words and 10 visible lines of code per minute, without pencil work and exercises.
The short path of a chapter is its opening and the sections that its line **Short path.** links to.
"""

from __future__ import annotations

import argparse
import ast
import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
NOISE = {"checkpoint", "display", "print", "show", "show_images", "use_style"}
DRAWING = {"ax", "axes", "fig", "figure", "plots", "plt"}  # what the series calls its figures


@dataclass
class Count:
    """What a reader meets in one notebook."""

    words: int = 0
    hidden: int = 0
    visible: int = 0
    teaching: int = 0

    @property
    def minutes(self) -> float:
        """Reading time."""
        return self.words / 150 + self.visible / 10

    @property
    def share(self) -> float:
        """Share of the visible code that teaches."""
        return self.teaching / max(self.visible, 1)


def is_noise(statement: ast.stmt) -> bool:
    """Whether a statement without a body imports, prints, checks or draws."""
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return True
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    called = {
        node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        for node in ast.walk(statement)
        if isinstance(node, ast.Call)
    }
    draws = any(re.match(r"(plot|draw|show)_", name) for name in called)
    return bool(names & DRAWING or called & NOISE or draws)


def lines_of(body: list[ast.stmt]) -> tuple[set[int], set[int]]:
    """Return the lines of statements, all of them and those that teach."""
    every, teach = set(), set()
    for statement in body:
        lines = set(range(statement.lineno, statement.end_lineno + 1))
        blocks = [
            block
            for field in ("body", "orelse", "handlers", "finalbody")
            for block in [getattr(statement, field, None)]
            if isinstance(block, list) and block
        ]
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            if isinstance(statement.value.value, str):
                continue  # a docstring
        if not blocks:
            every |= lines
            teach |= set() if is_noise(statement) else lines
            continue
        inside = [lines_of(block) for block in blocks]
        within = set().union(*(a for a, _ in inside))
        taught = set().union(*(t for _, t in inside))
        covered = {
            line for block in blocks for s in block for line in range(s.lineno, s.end_lineno + 1)
        }
        head = lines - covered
        every |= head | within
        teach |= taught | (head if taught else set())
    return every, teach


def anchor(heading: str) -> str:
    """Return the anchor that Jupyter gives to a heading."""
    return heading.strip().replace(" ", "-")


def short_path(cells: list) -> list:
    """Return the opening and the sections that the line **Short path.** links to, if it is there."""
    line = re.search(r"\*\*Short path\.\*\*.*", cells[0].source)
    wanted = set(re.findall(r"\]\(#([^)]+)\)", line[0])) if line else set()
    chosen, inside = [], bool(wanted)
    for cell in cells:
        if cell.cell_type == "markdown":
            parts = re.split(r"(?m)^(?=## )", cell.source)
            kept = []
            for part in parts:
                if part.startswith("## "):
                    inside = anchor(part.splitlines()[0][3:]) in wanted
                kept += [part] if inside else []
            cell = nbformat.from_dict({**cell, "source": "".join(kept)})
        if cell.cell_type == "markdown" or inside:
            chosen.append(cell)
    return chosen


def count(path: Path) -> Count:
    """Count the words and lines of one notebook."""
    return count_cells(nbformat.read(path, as_version=4).cells)


def count_cells(cells: list) -> Count:
    """Count the words and lines of some cells."""
    result = Count()
    for cell in cells:
        if cell.cell_type == "markdown":
            result.words += len(re.sub(r"<!--.*?-->", "", cell.source, flags=re.S).split())
        elif cell.cell_type == "code":
            source = cell.source.splitlines()
            every, teach = lines_of(ast.parse(re.sub(r"(?m)^[%!].*", "pass", cell.source)).body)
            every, teach = (
                {n for n in lines if source[n - 1].strip() and source[n - 1].strip()[0] != "#"}
                for lines in (every, teach)
            )
            if cell.metadata.get("jupyter", {}).get("source_hidden"):
                result.hidden += len(every)
            else:
                result.visible += len(every)
                result.teaching += len(teach)
    return result


def main() -> None:
    """Print one line per notebook."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default the chapters")
    paths = parser.parse_args().notebooks or sorted(FOLDER.glob("[0-9]*.ipynb"))
    counts = {path.name: count(path) for path in paths}
    short = {
        path.name: count_cells(short_path(nbformat.read(path, as_version=4).cells)).minutes
        for path in paths
    }
    head = f"{'notebook':28} {'words':>6} {'code':>5} {'folded':>6} {'teaches':>8}"
    print(f"{head} {'minutes':>8} {'short path':>10}")
    for name, c in counts.items():
        line = f"{name:28} {c.words:6,} {c.visible:5} {c.hidden:6} {c.share:8.0%} {c.minutes:8.0f}"
        print(f"{line} {short[name]:10.0f}")
    total = sum(c.teaching for c in counts.values()), sum(c.visible for c in counts.values())
    print(f"of {total[1]:,} visible lines of code {total[0] / max(total[1], 1):.0%} teach")


if __name__ == "__main__":
    main()

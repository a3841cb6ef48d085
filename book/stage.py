"""Lay out a copy of the notebooks as the book shows them; the stored notebooks stay as they are.

python book/stage.py [--teachers] FOLDER

Figures' code and checkpoints are folded, figures get their stored descriptions, and a cell that
draws photographs, which may not be redistributed, says so. MathJax is fetched once, verified, and
kept in the user's cache folder.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pooch

import grh_helpers

BOOK = Path(__file__).resolve().parent
ROOT = BOOK.parent
MATHJAX = "sha256:1b9c0a1c44df864e915690558e72adb9cc5203360daefd385084ced3b6c64c09"
# Files that the pages link to or show.
LINKED = ["*.md", "docs/*.md", "LICENSE", "CITATION.cff", "results/*.md", "results/*.csv"]
LINKED += ["results/*.png", "benchmarks/*.md", "benchmarks/*.csv", "benchmarks/*.png"]
LINKED += ["teaching/*.pdf", ".github/workflows/tests.yml"]
NOTE = """```{note}
This cell shows photographs, which may not be redistributed.
They appear when you run the notebook yourself.
```"""
MODULE = """# {0}

```{{eval-rst}}
.. automodule:: {0}
   :members:
   :show-inheritance:
```
"""
TEACHERS = """
```{toctree}
:caption: For teachers
:glob:
:hidden:

teaching/*
notebooks/solutions/[0-9]*
```
"""


def registry() -> str:
    """Return the address of the npm registry that this machine uses, empty if there is no npm."""
    address, npm = os.environ.get("npm_config_registry"), shutil.which("npm")
    if npm and not address:
        address = subprocess.check_output([npm, "config", "get", "registry"], text=True)
    return (address or "").strip().rstrip("/")


def mathjax() -> Path:
    """Return MathJax's ``tex-svg.js``, from the cache or the npm registry."""
    version, address = "3.2.2", registry()
    try:
        (script,) = pooch.retrieve(
            f"{address}/mathjax/-/mathjax-{version}.tgz",
            known_hash=MATHJAX,
            fname=f"mathjax-{version}.tgz",
            path=pooch.os_cache("grh_helpers") / "book",
            processor=pooch.Untar(members=["package/es5/tex-svg.js"]),
        )
    except (OSError, ValueError) as error:  # no network; a file with another checksum
        sys.exit(
            f"MathJax {version}, which draws the formulas, could not be had from npm's "
            f"registry ({error}). Build once with npm and a network, or set npm_config_registry."
        )
    return Path(script)


def anchored(text: str) -> str:
    """Turn the anchors of links from Jupyter's, as the heading stands, into the book's."""

    def slug(match: re.Match) -> str:
        return match[1] + re.sub(r"[^\w\- ]", "", unquote(match[2]).lower()) + ")"

    return re.sub(r"(\]\((?!https?:)[^)\s#]*#)([^)]+)\)", slug, text)


def described(picture) -> dict[str, str]:
    """Return the text that stands for a stored picture, and its class if a phone must scroll it."""
    width = int.from_bytes(base64.b64decode(picture.data["image/png"])[16:20], "big")  # of a PNG
    alt = picture.metadata.get("image/png", {}).get("alt", "")
    return {"alt": alt} | ({"classes": "wide"} if width > 760 else {})


def prompts(tags: list[str], draws: bool) -> dict[str, str]:
    """Return what a folded cell says it holds, closed and open."""
    what = "check" if "checkpoint" in tags else "figure's code" if draws else "code"
    return {"code_prompt_show": f"Show the {what}", "code_prompt_hide": f"Hide the {what}"}


def shown(notebook, with_outputs: bool):
    """Return the notebook with its figures' code and checkpoints folded, and the notes added."""
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"(?<=\d) (?=%)", "\u00a0", anchored(cell.source))
        tags = cell.metadata.get("tags", [])
        pictures = [o for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        if pictures or cell.metadata.get("jupyter", {}).get("source_hidden"):
            cell.metadata["tags"] = [*tags, "hide-input"]
            cell.metadata["mystnb"] = prompts(tags, bool(pictures))
        if pictures:
            cell.metadata["mystnb"]["image"] = described(pictures[0])
        cells.append(cell)
        if with_outputs and "cifar-images" in tags and not cell.outputs:
            cells.append(nbformat.v4.new_markdown_cell(NOTE, id=f"{cell.id}-photographs"))
    notebook.cells = cells
    return notebook


def stage(folder: Path, teachers: bool = False) -> None:
    """Write the sources of the book into an empty folder, laid out like the project."""
    folders = ["notebooks", "notebooks/exercises", *(["notebooks/solutions"] if teachers else [])]
    for name in folders:
        (folder / name).mkdir(parents=True)
        for path in sorted((ROOT / name).glob("[0-9a]*.ipynb")):  # chapters and appendix
            notebook = nbformat.read(path, as_version=4)
            notebook = shown(notebook, with_outputs=name != "notebooks/exercises")
            nbformat.write(notebook, folder / name / path.name)
    linked = LINKED + ["teaching/*.md"] * teachers
    for path in (path for pattern in linked for path in ROOT.glob(pattern)):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(anchored(path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            shutil.copyfile(path, target)
    index = (BOOK / "index.md").read_text(encoding="utf-8")
    (folder / "index.md").write_text(index + TEACHERS * teachers, encoding="utf-8")
    names = {name: getattr(grh_helpers, name).__module__ for name in sorted(grh_helpers.__all__)}
    text = (BOOK / "reference.md").read_text(encoding="utf-8")
    text = text.replace("NAMES", "\n".join(f"   ~{names[name]}.{name}" for name in names))
    (folder / "reference.md").write_text(text, encoding="utf-8")
    (folder / "reference").mkdir()
    for path in (ROOT / "grh_helpers").glob("[a-z]*.py"):
        page = MODULE.format(f"grh_helpers.{path.stem}")
        (folder / "reference" / f"{path.stem}.md").write_text(page, encoding="utf-8")
    shutil.copyfile(BOOK / "conf.py", folder / "conf.py")
    shutil.copytree(BOOK / "_static", folder / "_static")
    shutil.copyfile(mathjax(), folder / "_static" / "tex-svg.js")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write; emptied first")
    parser.add_argument("--teachers", action="store_true", help="with the answers")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.folder, ignore_errors=True)
    stage(arguments.folder, arguments.teachers)

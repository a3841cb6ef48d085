"""An experiment: the chapters in a browser that runs Python itself.

python book/lite.py [--local] FOLDER

Writes a JupyterLite site: all chapters on the digits, and the pure wheels that they need. NumPy
and the other compiled packages come from Pyodide's own server when a chapter is opened. A chapter
that a browser cannot run can be read there, and its first cell says why. With
--local Pyodide itself lies in the site, from the npm registry, with the pure packages that its
kernel needs to start; so the site can be tested without that server, but a chapter cannot run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pooch
from jupyterlite_pyodide_kernel.constants import PYODIDE_PYTHON_VERSION, PYODIDE_VERSION
from stage import ROOT, registry

sys.path.insert(0, str(ROOT / "notebooks"))

from _lite import DESKTOP, PAGES  # noqa: E402

# Pure packages that Pyodide has not: for the kernel, then for grh_helpers.
WHEELS = ["comm", "ipython-pygments-lexers", "filelock", "platformdirs", "pooch"]
KERNEL = ["micropip", "ipython", "jedi"]  # of Pyodide's packages, what its kernel starts with
PLUGIN = "@jupyterlite/pyodide-kernel-extension:kernel"
NOTE = """**An experiment.** This copy runs in your browser, on the digits. The next cell fetches
NumPy, the other packages and the helpers, which takes a while. Times are those of the browser."""
INSTALL = "%pip install -q grh_helpers"
READ = """**An experiment.** Other chapters run in your browser; this one does not, since {why}.
Read it here, and run it on a computer with Python."""
REFUSE = 'raise RuntimeError("This chapter does not run in a browser, since {why}.")'


def download(folder: Path, *packages: str) -> None:
    """Get wheels of pure packages from the package index, as Pyodide's Python would."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder]
    command += ["--only-binary=:all:", f"--python-version={PYODIDE_PYTHON_VERSION}"]
    subprocess.run([*command, "--platform=any", *packages], check=True)


def contents(folder: Path) -> None:
    """Copy the chapters, each with a first cell that installs the package or says why it is not."""
    folder.mkdir(parents=True)
    for path in PAGES:
        notebook = nbformat.read(path, as_version=4)
        why = DESKTOP.get(path.stem)
        note = READ.format(why=why) if why else NOTE
        first = REFUSE.format(why=why) if why else INSTALL
        notebook.cells[1:1] = [
            nbformat.v4.new_markdown_cell(note, id="experiment"),
            nbformat.v4.new_code_cell(first, id="install"),
        ]
        nbformat.write(notebook, folder / path.name)
    (folder.parent / "results").mkdir()
    for path in (ROOT / "results").glob("*.csv"):  # what chapter 5 reads
        shutil.copyfile(path, folder.parent / "results" / path.name)


def pyodide(folder: Path) -> None:
    """Put Pyodide into a folder, with the packages that its kernel starts with."""
    url = f"{registry()}/pyodide/-/pyodide-{PYODIDE_VERSION}.tgz"
    files = pooch.retrieve(
        url,
        known_hash=None,  # jupyterlite_pyodide_kernel chooses the version
        fname=f"pyodide-{PYODIDE_VERSION}.tgz",
        path=pooch.os_cache("grh_helpers") / "book",
        processor=pooch.Untar(),
    )
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / Path(file).name)
    lock = json.loads((folder / "pyodide-lock.json").read_text(encoding="utf-8"))
    needed, names = {}, [*KERNEL]
    while names:
        name = names.pop().replace("_", "-")
        if name in lock["packages"] and name not in needed:
            needed[name] = lock["packages"][name]
            names += needed[name]["depends"]
    download(folder, *(f"{name}=={package['version']}" for name, package in needed.items()))
    for package in needed.values():  # the same version, but not the same file as on its server
        content = (folder / package["file_name"]).read_bytes()
        package["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")


def build(site: Path, local: bool = False) -> None:
    """Write the site into a folder, which is emptied first."""
    shutil.rmtree(site, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contents(folder / "files" / "notebooks")
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
        subprocess.run([*pip, "-w", folder / "wheels", ROOT], check=True)
        download(folder / "wheels", *WHEELS)
        settings = {"pyodideUrl": "./static/pyodide/pyodide.mjs", "disablePyPIFallback": True}
        settings = {"litePluginSettings": {PLUGIN: settings if local else {}}}
        text = json.dumps({"jupyter-lite-schema-version": 0, "jupyter-config-data": settings})
        (folder / "jupyter-lite.json").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "jupyterlite_core", "build", "--contents=files"]
        command += [f"--output-dir={site.resolve()}", "--no-sourcemaps"]
        command += [f"--piplite-wheels={wheel}" for wheel in (folder / "wheels").glob("*.whl")]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    if local:
        pyodide(site / "static" / "pyodide")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write; emptied first")
    parser.add_argument("--local", action="store_true", help="with Pyodide, for the test")
    arguments = parser.parse_args()
    build(arguments.folder, arguments.local)

"""Run chapters as a browser would: no thread starts, no process, no network, one core, the digits.

python notebooks/_lite.py [NOTEBOOK ...]

In JupyterLite the kernel is Python compiled to WebAssembly inside a page of the browser. What it
cannot do is switched off here, in a process per notebook, before the first cell runs; the loader's
versions of the packages and the browser's own quirks are not tested. Chapters that are not for the
browser are named below with the reason; their first cell has to refuse, every other one has to run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell

FOLDER = Path(__file__).resolve().parent
PAGES = [*sorted(FOLDER.glob("[0-9]*.ipynb")), *sorted(FOLDER.glob("appendix_*.ipynb"))]
DESKTOP = {  # the stem of a chapter that is not for the browser, and why
    "09_the_field": "FAISS is not built for browsers",
    "10_scaling_out": "its cluster starts processes",
}
MISSING = ("faiss", "distributed")  # packages that a browser does not have or cannot start


def switch_off() -> None:
    """Let threads, processes and connections fail as they do in WebAssembly."""
    import multiprocessing.process
    import socket
    import threading

    import matplotlib.pyplot  # noqa: F401  (what the browser's loader has loaded before)
    import sklearn  # noqa: F401

    def refuse(error: type[Exception], sentence: str):
        def fail(*_, **__):
            raise error(sentence)

        return fail

    threading.Thread.start = refuse(RuntimeError, "can't start new thread")
    process = refuse(OSError, "emscripten does not support processes")
    subprocess.Popen.__init__ = os.system = multiprocessing.process.BaseProcess.start = process
    if hasattr(os, "fork"):
        os.fork = process
    network = refuse(OSError, "no network")
    socket.socket.connect = socket.getaddrinfo = network
    os.cpu_count = lambda: 1
    sys.modules.update(dict.fromkeys(MISSING))  # None: an import fails, as if not installed


def run(path: Path) -> int:
    """Run one notebook in this process; return 0, or say where it stops and return 1."""
    notebook = nbformat.read(path, as_version=4)
    shell = InteractiveShell.instance()
    switch_off()
    os.chdir(path.parent)
    for number, cell in enumerate(c for c in notebook.cells if c.cell_type == "code"):
        result = shell.run_cell(cell.source, silent=True)
        if not result.success:
            error = result.error_before_exec or result.error_in_exec
            sentence = str(error).strip().partition("\n")[0]
            where = "first cell" if number == 0 else cell.id
            print(f"{where}: {type(error).__name__}: {sentence}", file=sys.__stderr__)
            return 1
    return 0


def verdict(path: Path, stopped: str) -> tuple[bool, str]:
    """Say whether a notebook did what it has to, and what that was."""
    if path.stem not in DESKTOP:
        return not stopped, stopped or "runs"
    refused = stopped.startswith("first cell: ")
    what = f"refuses in its {stopped}" if refused else stopped or "runs, so it has to leave DESKTOP"
    return refused, f"not for a browser ({DESKTOP[path.stem]}); {what}"


def main() -> int:
    """Run each notebook in a process of its own; say which run and which do not."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="by default all chapters")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return run(options.notebooks[0].resolve())
    failed = 0
    for path in options.notebooks or PAGES:
        with tempfile.TemporaryDirectory() as home:
            environment = {"GRH_DATASET": "digits", "GRH_DATA_HOME": home, "MPLBACKEND": "agg"}
            environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            # There joblib does not find Python's _multiprocessing and has no parallel jobs.
            environment["JOBLIB_MULTIPROCESSING"] = "0"
            done = subprocess.run(
                [sys.executable, __file__, "--here", path],
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        stopped = done.stderr.strip().rpartition("\n")[2] or "it died"
        good, words = verdict(path, stopped if done.returncode else "")
        print(f"{path.name}: {words}", flush=True)
        failed += not good
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

"""The check of what a browser can run sees what a browser cannot."""

import subprocess
import sys

import nbformat
from test_notebooks import FOLDER

REFUSED = """
import multiprocessing, os, subprocess, threading, urllib.request
from concurrent.futures import ThreadPoolExecutor

for call, why in [
    (threading.Thread(target=print).start, "can't start new thread"),
    (lambda: ThreadPoolExecutor(2).submit(print), "can't start new thread"),
    (lambda: subprocess.run([os.devnull]), "does not support processes"),
    (lambda: os.system("exit"), "does not support processes"),
    (multiprocessing.get_context("spawn").Process(target=print).start, "not support processes"),
    (lambda: urllib.request.urlopen("http://127.0.0.1:9"), "no network"),
]:
    try:
        call()
    except OSError as error:
        assert why in str(error), error
    except RuntimeError as error:
        assert why in str(error), error
    else:
        raise AssertionError(f"it should fail: {why}")
"""
ALLOWED = """
import numpy
import grh_helpers

assert os.cpu_count() == 1 and os.environ["GRH_DATASET"] == "digits"
assert grh_helpers.gist(numpy.zeros((3, 32, 32))).shape == (3, 512)
"""


def test_threads_processes_and_network_are_off(tmp_path):
    pages = {"fits.ipynb": [REFUSED, ALLOWED], "fails.ipynb": ["threading = 1", "1 / 0", REFUSED]}
    for name, sources in pages.items():
        cells = [nbformat.v4.new_code_cell(text, id=f"cell-{i}") for i, text in enumerate(sources)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / name)
    command = [sys.executable, FOLDER / "_lite.py", *(tmp_path / name for name in pages)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = "fits.ipynb: runs\nfails.ipynb: cell-1: ZeroDivisionError: division by zero\n"
    assert done.stdout == said and done.returncode == 1, done.stderr

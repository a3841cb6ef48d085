"""What a browser can run: the check without threads, and the kernel inside a page."""

import functools
import http.server
import importlib.metadata
import os
import subprocess
import sys
import threading
from urllib.parse import quote

import nbformat
import pytest
from test_book import BROWSER
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


HELPERS = """import piplite
await piplite.install("grh_helpers", deps=False)
from importlib.metadata import version
print("installed", version("grh_helpers"))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The JupyterLite site with Pyodide in it, served on this machine."""
    if os.environ.get("GRH_LITE_TEST") != "required":
        pytest.skip("The kernel in the browser is NOT tested: `make lite-test` does.")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, FOLDER.parent / "book" / "lite.py", "--local", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.book
class TestSite:
    def test_chapters_install_the_helpers_first(self, site):
        pages = sorted((site[0] / "files" / "notebooks").glob("*.ipynb"))
        assert [page.name[:2] for page in pages] == ["00", "01", "02", "03", "04", "05"]
        for page in pages:
            cells = nbformat.read(page, as_version=4).cells
            first = next(cell for cell in cells if cell.cell_type == "code")
            assert first.source == "%pip install -q grh_helpers"
            assert "An experiment" in cells[1].source

    def test_kernel_boots_and_installs_the_helpers(self, site):
        playwright = pytest.importorskip("playwright.sync_api")
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        with playwright.sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=BROWSER, args=options)
            page = browser.new_page()
            page.goto(f"{site[1]}/repl/index.html?kernel=python&code={quote(HELPERS)}")
            version = importlib.metadata.version("grh_helpers")
            page.get_by_text(f"installed {version}", exact=True).wait_for(timeout=400_000)
            browser.close()

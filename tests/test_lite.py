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
from test_notebooks import APPENDICES, CHAPTERS, FOLDER, read

sys.path.insert(0, str(FOLDER))

import _lite  # noqa: E402

PAGES = [*CHAPTERS, *APPENDICES]
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
    pages["10_scaling_out.ipynb"] = ["import distributed"]
    pages["09_the_field.ipynb"] = ["print()", "import faiss"]
    for name, sources in pages.items():
        cells = [nbformat.v4.new_code_cell(text, id=f"cell-{i}") for i, text in enumerate(sources)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / name)
    command = [sys.executable, FOLDER / "_lite.py", *(tmp_path / name for name in pages)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    fits, fails, refuses, late = done.stdout.splitlines()
    assert fits == "fits.ipynb: runs" and done.returncode == 1, done.stderr
    assert fails == "fails.ipynb: cell-1: ZeroDivisionError: division by zero"
    assert "; refuses in its first cell: ModuleNotFoundError" in refuses
    assert late.endswith("cell-1: ModuleNotFoundError: import of faiss halted; None in sys.modules")


class TestChaptersForTheBrowser:
    def test_none_is_left_out_in_silence(self):
        assert _lite.PAGES == PAGES
        assert _lite.DESKTOP.keys() < {path.stem for path in CHAPTERS}
        makefile = (FOLDER.parent / "Makefile").read_text(encoding="utf-8")
        (line,) = (line for line in makefile.splitlines() if "notebooks/_lite.py" in line)
        assert line.endswith("_lite.py"), "the check goes through all chapters"

    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
    def test_a_chapter_that_does_not_run_there_says_so(self, path):
        says = "does not run in a browser" in read(path).cells[0].source
        assert says == (path.stem in _lite.DESKTOP)

    @pytest.mark.parametrize(
        ("stem", "stopped", "good"),
        [
            ("01_data_preparation", "", True),
            ("01_data_preparation", "first cell: OSError: no network", False),
            ("09_the_field", "first cell: ImportError: no FAISS", True),
            ("09_the_field", "09-64: ImportError: no FAISS", False),
            ("09_the_field", "", False),
        ],
    )
    def test_verdict(self, stem, stopped, good):
        assert _lite.verdict(FOLDER / f"{stem}.ipynb", stopped)[0] == good


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
    def test_chapters_install_the_helpers_first_or_refuse(self, site):
        pages = sorted((site[0] / "files" / "notebooks").glob("*.ipynb"))
        assert [page.name for page in pages] == [path.name for path in PAGES]
        for page in pages:
            note, first = read(page).cells[1:3]
            assert "An experiment" in note.source and first.cell_type == "code"
            if why := _lite.DESKTOP.get(page.stem):
                assert why in note.source
                with pytest.raises(RuntimeError, match=f"not run in a browser, since {why}"):
                    exec(first.source)
            else:
                assert first.source == "%pip install -q grh_helpers"

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

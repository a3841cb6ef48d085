"""The book in a real browser: every page, light and dark, on a phone and on a desk, offline.

Needs what book/requirements.txt lists and Chromium or Chrome; `make book-test` fails where they
are missing, a plain pytest skips and says so.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ["sphinx", "myst_nb", "sphinx_book_theme", "sphinx_copybutton", "playwright"]
BROWSER = next(
    filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None
)
VIEWS = [(1200, "light"), (400, "light"), (1200, "dark"), (400, "dark")]

pytestmark = pytest.mark.book

# What one look at a page collects: everything that is wrong with it in the present view.
LOOK = """() => {
  const article = document.querySelector("article, #search-results"), found = {};
  const root = document.documentElement;
  found.overflow = root.scrollWidth - root.clientWidth;
  const images = [...article.querySelectorAll("img, svg[role=img]")]
    .filter(i => !i.closest("mjx-container"));
  const alt = i => i.getAttribute("alt") || i.getAttribute("aria-label") || "";
  const described = text => text.length >= 20 && !text.includes("_images/");  // not its file's name
  found.no_alt = images.filter(i => !described(alt(i))).map(i => i.outerHTML.slice(0, 100));
  found.broken = [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src);
  found.unrendered = [...article.querySelectorAll(".math")]
    .filter(m => !m.querySelector("mjx-container svg")).map(m => m.textContent.slice(0, 60));
  found.bad_formula = [...document.querySelectorAll("mjx-merror, [data-mjx-error]")]
    .map(m => m.outerHTML.slice(0, 100));
  const light = c => {
    const v = c.match(/[\\d.]+/g).map(Number);
    const linear = x => x <= .04 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4;
    const [r, g, b] = v.slice(0, 3).map(x => linear(x / 255));
    return {alpha: v.length > 3 ? v[3] : 1, y: .2126 * r + .7152 * g + .0722 * b};
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = light(getComputedStyle(e).backgroundColor);
      if (c.alpha > .5) return c.y;
    }
    return 1;
  };
  found.raw = []; found.pale = [];
  const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode());) {
    const e = node.parentElement, text = node.textContent;
    if (!text.trim() || e.closest("script, style, mjx-container, svg, .headerlink")) continue;
    const raw = /\\$[^$\\s][^$]*\\$|\\\\[a-z]{2,}|\\\\[([]|<!--|-->|```/;
    if (!e.closest("pre, code") && raw.test(text))
      found.raw.push(text.trim().slice(0, 80));
    if (!e.checkVisibility || !e.checkVisibility()) continue;
    const a = light(getComputedStyle(e).color).y, b = behind(e);
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.pale.push(ratio.toFixed(1) + " " + e.outerHTML.slice(0, 90));
  }
  found.links = [...document.querySelectorAll("a[href]")].map(a => a.href);
  found.ids = [...document.querySelectorAll("[id], a[name]")].map(e => e.id || e.name);
  return found;
}"""
READY = """async () => {
  if (document.querySelector(".math")) {
    for (let i = 0; i < 250 && !window.MathJax?.startup?.promise; i++)
      await new Promise(wait => setTimeout(wait, 20));
    await window.MathJax?.startup?.promise;  // without MathJax the formulas count as unrendered
  }
}"""


def need():
    """Skip, or fail if the book's test was asked for, where something is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    missing += [] if BROWSER else ["Chromium or Chrome"]
    if missing:
        reason = f"The book is NOT tested: there is no {', '.join(missing)}; see `make book-test`."
        (pytest.fail if os.environ.get("GRH_BOOK_TEST") == "required" else pytest.skip)(reason)


def build(folder, *options):
    """Build the book into a folder, warnings being errors; return the folder of the pages."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    stage = [sys.executable, ROOT / "book/stage.py", *options, folder / "stage"]
    sphinx = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    for command in (stage, [*sphinx, "-d", folder / "doctrees", folder / "stage", folder / "html"]):
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    need()
    return build(tmp_path_factory.mktemp("public"))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages with the teachers' part, which are the public ones and more."""
    need()
    return build(tmp_path_factory.mktemp("teachers"), "--teachers")


@pytest.fixture(scope="module")
def browser():
    need()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])


@pytest.fixture(scope="module")
def looks(site, browser):
    """What was found on every page in every view, and what the browser said meanwhile."""
    found = {}
    for path in sorted(site.rglob("*.html")):
        name = path.relative_to(site).as_posix()
        if name.startswith("_static/"):
            continue
        page = browser.new_page(color_scheme="light")
        said, asked = [], []
        page.on("console", lambda m, s=said: m.type == "error" and s.append(m.text))
        page.on("pageerror", lambda error, s=said: s.append(str(error)))
        page.on("requestfailed", lambda r, s=said: s.append(f"failed: {r.url}"))
        page.on("request", lambda r, a=asked: a.append(r.url))
        page.goto(path.as_uri())
        page.evaluate(READY)
        for width, theme in VIEWS:
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=theme)
            page.wait_for_function(f"document.documentElement.dataset.theme == '{theme}'")
            page.wait_for_timeout(250)  # colours fade
            found[name, width, theme] = page.evaluate(LOOK) | {"said": said, "asked": asked}
        page.close()
    return found


def wrong(looks, key):
    """Every page and view in which something was found under the key."""
    return {view: look[key] for view, look in looks.items() if look[key]}


def test_every_notebook_and_module_has_its_page(looks):
    names = {name for name, _, _ in looks}
    notebooks = [p.relative_to(ROOT) for p in (ROOT / "notebooks").rglob("[0-9]*.ipynb")
                 if ".ipynb_checkpoints" not in p.parts]  # fmt: skip
    assert {p.with_suffix(".html").as_posix() for p in notebooks} <= names
    modules = {f"reference/{p.stem}.html" for p in (ROOT / "grh_helpers").glob("[a-z]*.py")}
    assert modules <= names and {"index.html", "README.html", "search.html"} <= names
    assert len(looks) == len(VIEWS) * len(names)


@pytest.mark.parametrize(
    "key", ["said", "overflow", "no_alt", "broken", "unrendered", "bad_formula", "raw", "pale"]
)
def test_nothing_wrong_on_any_page(looks, key):
    assert wrong(looks, key) == {}


def test_no_request_leaves_the_folder(looks):
    asked = {url for look in looks.values() for url in look["asked"]}
    assert len(asked) > 50
    assert {url for url in asked if not url.startswith(("file:", "data:", "blob:"))} == set()


def test_no_dead_link(looks, site):
    ids = {(site / name).as_posix(): set(look["ids"]) for (name, _, _), look in looks.items()}
    dead, anchors = set(), 0
    for (name, _, _), look in looks.items():
        for link in look["links"]:
            url = urlsplit(link)
            if url.scheme != "file":
                assert url.scheme in ("http", "https", "mailto"), (name, link)
                continue
            target = unquote(url.path)
            anchors += bool(url.fragment)
            if not Path(target).is_file():
                dead.add((name, link))
            elif url.fragment and unquote(url.fragment) not in ids.get(target, ()):
                dead.add((name, link))
    assert dead == set() and anchors > 100


def test_formulas_and_pictures_are_there(looks, site):
    """So that the checks above do not pass on empty pages."""
    text = (site / "notebooks/02_lsh_buckets.html").read_text(encoding="utf-8")
    assert text.count('class="math') > 20 and text.count("<img") >= 5
    assert text.count("<details") >= 10 and "Show the code" in text


def test_cells_with_photographs_say_why_they_are_empty(site):
    text = (site / "notebooks/02_lsh_buckets.html").read_text(encoding="utf-8")
    assert "They appear when you run the notebook yourself." in text


def test_search_finds_a_word(site, browser):
    page = browser.new_page()
    for word, least in (("hyperplane", 3), ("zyzzyva", 0)):
        page.goto(f"{(site / 'search.html').as_uri()}?q={word}")
        page.locator(
            "#search-results .search-summary", has_text=re.compile("finished|match")
        ).wait_for()
        hits = page.locator("#search-results ul li a").count()
        assert hits >= least if least else hits == 0
    page.close()


def test_answers_are_not_in_the_public_book(public, site):
    assert not list(public.glob("**/solutions/*")) and list(site.glob("**/solutions/*.html"))
    (pages,) = re.findall(r'docnames":\[(.*?)\]', (public / "searchindex.js").read_text("utf-8"))
    assert "exercises/02_lsh_buckets" in pages and "solutions" not in pages


def test_without_scripts_the_page_still_reads(site, browser):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "notebooks/04_grh_steps.html").as_uri())
    assert page.locator("article img").count() >= 5
    page.locator("article details summary").first.click()
    assert page.locator("article details[open] pre").first.is_visible()
    context.close()

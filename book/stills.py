"""Store the still pictures of the widgets: what each script draws at the start.

python book/stills.py

The configurations are read from the stored outputs of the notebooks; headless Chromium draws them,
and the drawings are kept in grh_helpers/live_js, without what only a script needs. Run a notebook
again afterwards, so that its stored output holds the new picture.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat

from grh_helpers.live import Live

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "grh_helpers" / "live_js"
FIGURE = re.compile(r'data-grh="(\w+)" data-config=\'(.*?)\'.*?<img alt="(.*?)"', re.S)
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]
# The drawing as text, without styles, names for a screen reader and marks for the script.
DRAWING = """() => {
  const svg = document.querySelector("figure svg").cloneNode(true);
  for (const e of [svg, ...svg.querySelectorAll("*")])
    for (const {name} of [...e.attributes])
      if (/^(style|role|tabindex|aria-|data-)/.test(name)) e.removeAttribute(name);
  return new XMLSerializer().serializeToString(svg);
}"""


def widgets() -> dict[str, tuple[str, Live]]:
    """Return by cell the HTML of each widget as it is stored, and as it is made now."""
    found = {}
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            for output in cell.get("outputs", []):
                stored = output.get("data", {}).get("text/html", "")
                if 'class="grh-live"' in stored:
                    name, told, alt = map(html.unescape, FIGURE.search(stored).groups())
                    made = Live(name, alt, **json.loads(told))
                    found[f"{path.stem}, {cell.id}"] = stored, made
    return found


def drawn(page, widget: Live) -> str:
    """Return what the script of a widget draws at the start, as SVG, on a page of Playwright."""
    page.set_content(widget.html)
    return page.evaluate(DRAWING)


def main() -> None:
    """Write the pictures of all widgets, and remove those of no widget."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"None of {', '.join(BROWSERS)} is there, and one must draw the pictures.")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=browser).new_page()
        pictures = {made.still: drawn(page, made) for _, made in widgets().values()}
    for path in FOLDER.glob("*.svg"):
        if path.name not in pictures:
            path.unlink()
    for name, svg in pictures.items():
        (FOLDER / name).write_text(svg, encoding="utf-8", newline="\n")
        print(f"{name}: {len(svg.encode()):,} bytes")


if __name__ == "__main__":
    main()

"""Make slides from the stored notebooks: python teaching/slides.py FOLDER [NOTEBOOK ...].

One page of HTML for each chapter, with everything inside it: a title, then for each section what
the chapter asks the reader to expect, and its figures with the sentences that name them; at the
end what was seen. Arrow keys turn the slides; printing gives a PDF with one slide on each page.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import nbformat
from nbconvert.filters.markdown_mistune import markdown2html_mistune

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("Exercises", "In practice", "Further reading", "Next", "Notation and glossary")
# A paragraph asks if it ends in a question (a pointer to the figure may follow), or says so.
ENDS_IN_QUESTION = re.compile(
    r"\?\W*(?:\([^()]*\)\W*)?(?:\*\*Figure [\d.]+\*\*[^.?]*\.(?: [^.?]*\.)?)?\s*$"
)
ASKS = re.compile(
    r"[Bb]efore (?:you (?:go|look|run|move)|reading|running)|\b[Gg]uess how|\bWork out\b|do you think"
    r"|(?:[Ss]ketch|[Ee]xpect|[Pp]encil:).*\?", re.S
)  # fmt: skip
TELLS = re.compile(r"\||\*\*Figure [\d.]+\.\*\*|.*[Dd]o(?:es)? [^?]*\bagree\b", re.S)
SIGNS = {"alpha": "α", "theta": "θ", "pi": "π", "mu": "μ", "nu": "ν", "lambda": "λ", "sum": "∑", "cdot": "·",
         "times": "×", "le": "≤", "ge": "≥", "pm": "±", "to": "→", "approx": "≈", "dots": "…", "ldots": "…",
         "log": "log ", "infty": "∞", "in": "∈", "tfrac12": "½", "top": "ᵀ"}  # fmt: skip

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><style>
html {{ scroll-snap-type: y mandatory; font: 2.5vmin/1.4 sans-serif; color: #111; background: #fff; }}
body {{ margin: 0; }}
section {{ box-sizing: border-box; height: 100vh; padding: 4vmin 8vmin 5vmin; scroll-snap-align: start;
  display: flex; flex-direction: column; gap: 1.5vmin; overflow: hidden; position: relative; }}
section.title {{ justify-content: center; font-size: 3.2vmin; }} ul, ol {{ font-size: 3.4vmin; }}
h1 {{ font-size: 6.5vmin; margin: 0; line-height: 1.15; }} h2 {{ font-size: 4.2vmin; margin: 0; line-height: 1.2; }}
p, ul, ol {{ margin: 0.6vmin 0; }} li {{ margin: 0.8vmin 0; }}
.ask {{ font-size: 4vmin; border-left: 1vmin solid #d95f02; padding-left: 3vmin; margin: auto 0; }}
img {{ flex: 1 1 0; min-height: 0; min-width: 0; object-fit: contain; }}
.caption {{ font-size: 2.7vmin; }} .caption p {{ margin: 0; }} code {{ font-size: 92%; }}
.number {{ position: absolute; right: 3vmin; bottom: 2vmin; color: #555; font-size: 2vmin; }}
@media print {{ @page {{ size: 297mm 167mm; margin: 0; }} html {{ font-size: 4.2mm; }}
  section {{ break-after: page; height: 166mm; }} }}
</style></head><body>
{slides}
<script>
addEventListener("keydown", event => {{
  const step = {{ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1}}[event.key];
  if (!step) return;
  event.preventDefault();
  const all = [...document.querySelectorAll("section")];
  const here = Math.round(scrollY / innerHeight) + step;
  all[Math.max(0, Math.min(all.length - 1, here))].scrollIntoView();
}});
</script></body></html>
"""


def formula(tex: str) -> str:
    """Write a short formula in plain signs."""
    tex = re.sub(r"\\[td]?frac\{([^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", tex)
    tex = re.sub(r"\\tfrac(\d)(\d)", r"\1/\2", tex)
    tex = re.sub(r"\\(?:operatorname|text|mathrm)\{([^{}]*)\}", r"\1", tex)
    tex = re.sub(r"\\binom\{([^{}]*)\}\{([^{}]*)\}", r"C(\1, \2)", tex)
    tex = re.sub(r"\\sqrt\{([^{}]*)\}", r"√(\1)", tex)
    tex = re.sub(r"\\(?:[bB]igl?r?|left|right)", "", tex)
    tex = re.sub(r"\\[,;!]", " ", tex)
    tex = re.sub(r"\\([a-zA-Z]+)", lambda m: SIGNS.get(m[1], m[0]), tex)
    tex = html.escape(tex).replace("-", "−")
    for sign, tag in (("^", "sup"), ("_", "sub")):
        tex = re.sub(rf"\{sign}(?:\{{([^{{}}]*)\}}|(.))", rf"<{tag}>\1\2</{tag}>", tex)
    return f"<i>{tex.replace('{', '').replace('}', '')}</i>"


def markdown(text: str) -> str:
    """Turn Markdown into HTML without links, comments and TeX."""
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"(?<!!)\[([^]]*)\]\([^)]*\)", r"\1", text)
    kept: list[str] = []

    def keep(match) -> str:
        kept.append(formula(match[1] or match[2]))
        return f"@@{len(kept) - 1}@@"

    text = re.sub(r"\$\$(.+?)\$\$|\$([^$]+?)\$", keep, text, flags=re.S)
    done = markdown2html_mistune(text)
    return re.sub(r"@@(\d+)@@", lambda m: kept[int(m[1])], done)


def prose_of(notebook) -> str:
    """Return the text of a notebook."""
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def has_picture(cell) -> bool:
    """Whether a picture is stored below a cell."""
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def numbers_of_figures(notebook) -> dict[str, str]:
    """Return the number that the prose gives to the picture of each cell, by the cell's id."""
    numbers = list(dict.fromkeys(re.findall(r"\*\*(Figure \d+\.\d+)", prose_of(notebook))))
    shown = [cell.id for cell in notebook.cells if has_picture(cell)]
    if len(shown) < len(numbers):  # Photographs count, though nothing is stored below their cell.
        photographs = [c for c in notebook.cells if "cifar-images" in c.metadata.get("tags", [])]
        hidden = {cell.id for cell in photographs}
        shown = [cell.id for cell in notebook.cells if has_picture(cell) or cell.id in hidden]
    assert not numbers or len(shown) == len(numbers), "a figure has no number, or two"
    return dict(zip(shown, numbers, strict=False))


def caption(figure: str, alt: str, text: str) -> str:
    """Return the first two sentences with which the prose reads a figure, else its description."""
    found = re.search(rf"^\*\*{re.escape(figure)}\.\*\* .*", text, re.M) if figure else None
    if found:
        return markdown(" ".join(re.split(r"(?<=[.?!]) (?=[A-Z*])", found[0])[:2]))
    return (f"<b>{figure}.</b> " if figure else "") + html.escape(alt)


def is_question(paragraph: str) -> bool:
    """Whether a paragraph asks the reader what to expect."""
    if TELLS.match(paragraph) or len(paragraph) >= 900:
        return False
    long = len(paragraph) >= 60  # A shorter one is a heading in the form of a question.
    return bool(ASKS.search(paragraph) or (long and ENDS_IN_QUESTION.search(paragraph)))


def sections(notebook) -> list[str]:
    """Return the slides of one chapter."""
    slides, heading, last = [], "", ""
    text, numbers = prose_of(notebook), numbers_of_figures(notebook)
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown":
            for paragraph in re.split(r"\n\s*\n", cell.source):
                if title := re.match(r"#{2,3} (.+)", paragraph):
                    heading = title[1].replace("`", "")
                elif heading == "What we saw":
                    if not paragraph.startswith("|") and not paragraph.endswith(":"):
                        slides.append(f"<h2>{heading}</h2>{markdown(paragraph)}")
                elif heading not in LEFT_OUT and is_question(paragraph):
                    if paragraph[0].islower():  # It goes on with the sentence of a formula.
                        paragraph = f"{last}\n\n{paragraph}"
                    asked = f'<div class="ask">{markdown(paragraph)}</div>'
                    slides.append(f"<h2>{html.escape(heading)}</h2>{asked}")
                last = paragraph
            continue
        for output in cell.outputs:
            if "image/png" in output.get("data", {}) and heading not in LEFT_OUT:
                alt = output.metadata["image/png"]["alt"]
                data = output.data["image/png"].replace("\n", "")
                words = caption(numbers.get(cell.id, ""), alt, text)
                slides.append(
                    f'<h2>{html.escape(heading)}</h2><img alt="{html.escape(alt)}" '
                    f'src="data:image/png;base64,{data}"><div class="caption">{words}</div>'
                )
    return slides


def deck(notebook) -> str:
    """Return the page of one chapter."""
    opening = notebook.cells[0].source
    title = re.match(r"# (.+)", opening)[1]
    do, learn = (
        re.search(rf"\*\*What you'll {word}\.\*\* ([^\n]+(?:\n[^\n]+)*)", opening)[1]
        for word in ("do", "learn")
    )
    slides = [f"<h1>{html.escape(title)}</h1>{markdown(do)}{markdown(learn)}", *sections(notebook)]
    pages = [
        f'<section{" class=title" if n == 1 else ""}>{slide}<div class="number">{n}</div></section>'
        for n, slide in enumerate(slides, start=1)
    ]
    return PAGE.format(title=html.escape(title), slides="\n".join(pages))


def main(folder: Path, notebooks: list[Path]) -> None:
    """Write the slides of each chapter."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        target = folder / f"{path.stem}.html"
        target.write_text(deck(nbformat.read(path, as_version=4)), encoding="utf-8")
        print(target)


if __name__ == "__main__":
    chosen = list(map(Path, sys.argv[2:])) or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
    main(Path(sys.argv[1]), chosen)

"""The rules that every notebook keeps: structure, execution, pictures, figures in prose."""

import ast
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from grh_helpers.checkpoints import recorded

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
sys.path.insert(0, str(FOLDER))

import _build  # noqa: E402
import _count  # noqa: E402

CHAPTERS = sorted(FOLDER.glob("[0-9]*.ipynb"))
APPENDICES = sorted(FOLDER.glob("appendix_*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("[0-9]*.ipynb"))
BLANKS = sorted((FOLDER / "exercises").glob("[0-9]*.ipynb"))

OPENING = ["**What you'll do.**", "**What you'll learn.**", "**What you'll need.**",
           "**How long it takes.**"]  # fmt: skip
CLOSING = ["What we saw", "Exercises", "In practice", "Further reading", "Next"]

# A number in prose and the key of the recorded figure it quotes: 0.371<!--=key-->, 72 %<!--=key-->,
# or, for a figure of the digits, 0.577<!--=digits:key-->.
TIED = re.compile(r"([−-]?\d[\d,]*(?:\.\d+)?)(\s?%)?\**<!--=(?:(\w+):)?([\w.]+)-->")
# Text in which numbers are not results: code, formulas, links, figures' names, other comments.
NOT_PROSE = re.compile(
    r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\]\([^)]*\)|<!--.*?-->"
    r"|doi:\S+|arXiv:[\d.]+|Figures? \d+\.\d+",
    re.S,
)


def read(path):
    return nbformat.read(path, as_version=4)


def name(path):
    return f"{path.parent.name}/{path.stem}"


def tags(cell):
    return cell.metadata.get("tags", [])


def code_cells(notebook):
    return [c for c in notebook.cells if c.cell_type == "code"]


def hidden(cell):
    return cell.metadata.get("jupyter", {}).get("source_hidden", False)


def checkpoints(path):
    """Prefix of the recorded keys and data set (None: the chosen one) of each checkpoint."""
    calls = [
        node
        for cell in code_cells(read(path))
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "checkpoint"
    ]
    named = ({k.arg: k.value for k in call.keywords}.get("dataset") for call in calls)
    return [(c.args[0].value, n and n.value) for c, n in zip(calls, named, strict=True)]


def is_of(key, prefix):
    """Whether a recorded key belongs to the checkpoint of that prefix."""
    return f"{key}_".startswith(f"{prefix}_")


def prose(notebook):
    return [c.source for c in notebook.cells if c.cell_type == "markdown"]


def wrong_figures(text, figures_of):
    """Quoted numbers that differ from the recorded ones, one sentence each."""
    wrong = []
    for number, percent, dataset, key in TIED.findall(text):
        figures = figures_of(dataset or "cifar10")
        if key not in figures:
            wrong.append(f"{key} is quoted but not recorded")
            continue
        decimals = len(number.partition(".")[2])
        shown = float(number.replace(",", "").replace("−", "-"))
        value = figures[key] * (100 if percent else 1)
        if abs(shown - value) > 0.5 * 10**-decimals * (1 + 1e-6):
            wrong.append(f"{key} is quoted as {number}{percent} but {value:.6g} is recorded")
    return wrong


def untied_figures(text):
    """Decimal numbers and percentages in prose that no recorded figure stands behind."""
    text = TIED.sub("", text)
    text = NOT_PROSE.sub("", text)
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.]*\d)|(?<![\w.])\d+\s?%", text)


@pytest.mark.parametrize("path", CHAPTERS + APPENDICES + SOLUTIONS, ids=name)
class TestEveryNotebook:
    def test_ran_once_from_top_to_bottom(self, path):
        counts = [c.execution_count for c in code_cells(read(path)) if c.source.strip()]
        assert counts == list(range(1, len(counts) + 1))

    def test_no_empty_code_cell(self, path):
        assert all(c.source.strip() for c in code_cells(read(path)))

    def test_no_error_or_warning_is_stored(self, path):
        for cell in code_cells(read(path)):
            for output in cell.outputs:
                assert output.output_type != "error", cell.source
                assert output.get("name") != "stderr", output.get("text")

    def test_kernel_is_the_common_one(self, path):
        assert read(path).metadata.kernelspec.name == "python3"

    def test_cells_are_short(self, path):
        longest = max(code_cells(read(path)), key=lambda c: len(c.source.splitlines()))
        assert len(longest.source.splitlines()) <= 27, longest.source

    def test_no_cifar_picture_is_stored(self, path):
        for cell in code_cells(read(path)):
            if re.search(r"\bimshow\(|show_images\(|\.images\b", cell.source):
                assert {"cifar-images", "no-photographs"} & set(tags(cell)), (
                    "a cell that draws images carries the tag cifar-images, or no-photographs "
                    f"if it shows none of CIFAR-10's:\n{cell.source}"
                )
            if "cifar-images" in tags(cell):
                assert "nbval-ignore-output" in tags(cell)
                assert cell.outputs == [], "CIFAR-10 pictures must not be stored"

    def test_pictures_are_png_with_alt_text(self, path):
        for cell in code_cells(read(path)):
            for output in cell.outputs:
                data = output.get("data", {})
                assert "image/svg+xml" not in data
                if "image/png" in data:
                    alt = output.metadata.get("image/png", {}).get("alt", "")
                    assert len(alt) >= 30, f"no alt text: {cell.source}"

    def test_quoted_figures_are_the_recorded_ones(self, path):
        assert wrong_figures("\n".join(prose(read(path))), recorded) == []

    def test_no_loose_figure_in_prose(self, path):
        for text in prose(read(path)):
            assert untied_figures(text) == [], text

    def test_markdown_pictures_have_alt_text(self, path):
        assert not re.search(r"!\[\]\(", "\n".join(prose(read(path))))

    def test_no_folder_of_a_machine_is_stored(self, path):
        assert not re.search(r"/(home|root|work|tmp|Users)/\w", path.read_text(encoding="utf-8"))

    def test_links_to_files_lead_somewhere(self, path):
        for target in re.findall(r"\]\(([^)#\s]+)\)", "\n".join(prose(read(path)))):
            if not re.match(r"https?://|mailto:", target):
                assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
class TestEveryChapter:
    def test_opening(self, path):
        first = read(path).cells[0].source
        assert re.match(rf"# {int(path.stem[:2])}\. ", first)
        for part in OPENING:
            assert part in first, part

    def test_closing(self, path):
        headings = re.findall(r"^## (.+)$", "\n".join(prose(read(path))), re.M)
        assert headings[-len(CLOSING) :] == CLOSING

    def test_further_reading_has_dois(self, path):
        text = "\n".join(prose(read(path)))
        assert len(re.findall(r"https://doi\.org/10\.", text.split("## Further reading")[1])) >= 2

    def test_at_least_three_figures(self, path):
        figures = [o for c in code_cells(read(path)) for o in c.outputs
                   if "image/png" in o.get("data", {})]  # fmt: skip
        assert len(figures) >= 3

    def test_at_least_five_figures_are_checked(self, path):
        found = 0
        for cell in code_cells(read(path)):
            text = "".join(o.get("text", "") for o in cell.outputs)
            for number in re.findall(r"^✓ (\d+) figures? as recorded$", text, re.M):
                assert "nbval-check-output" in tags(cell), cell.source
                found += int(number)
        assert found >= 5

    def test_checked_figures_are_recorded_for_their_datasets(self, path):
        # Both, but for a checkpoint that names one: its figures are recorded there and only there.
        named = checkpoints(path)
        assert named and len(dict(named)) == len(named)
        for dataset in ("digits", "cifar10"):
            for prefix, only in named:
                found = any(is_of(key, prefix) for key in recorded(dataset))
                assert found == (only in (None, dataset)), f"{prefix} for {dataset}"

    def test_a_chapter_of_one_dataset_names_it_in_its_checkpoints(self, path):
        source = "\n".join(c.source for c in code_cells(read(path)))
        if set(re.findall(r"\bload_dataset\((.*?)\)", source)) == {'"digits"'}:
            assert {dataset for _, dataset in checkpoints(path)} == {"digits"}

    def test_says_what_a_tick_means(self, path):
        assert "✓" in "\n".join(prose(read(path)))

    def test_four_fifths_of_the_visible_code_teach(self, path):
        # How a line is counted stands in notebooks/_count.py.
        assert _count.count(path).share >= 0.8

    def test_drawing_and_checking_cells_are_folded(self, path):
        for cell in code_cells(read(path)):
            folded = {"plot", "checkpoint", "links"} & set(tags(cell))
            assert hidden(cell) == bool(folded), cell.source
            if "checkpoint(" in cell.source.replace("import checkpoint", ""):
                assert "checkpoint" in tags(cell), cell.source

    def test_no_visible_cell_needs_a_name_from_a_folded_one(self, path):
        folded, visible = set(), set()
        for cell in code_cells(read(path)):
            names = [
                node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)
            ]
            stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
            for node in ast.walk(ast.parse(cell.source)):
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    stored.add(node.name)
                elif isinstance(node, ast.arg):
                    stored.add(node.arg)
            loaded = {node.id for node in names if isinstance(node.ctx, ast.Load)}
            if hidden(cell):
                folded |= stored - visible
            else:
                assert not (needed := (loaded - stored) & folded), f"{needed} in:\n{cell.source}"
                visible |= stored
                folded -= stored

    def test_has_exercises(self, path):
        solution = FOLDER / "solutions" / path.name
        checks = [c for c in read(solution).cells if "check" in tags(c)]
        assert 2 <= len(checks) <= 4
        assert f"exercises/{path.name}" in "\n".join(prose(read(path)))


def test_every_notebook_is_a_chapter_or_an_appendix():
    assert sorted(FOLDER.glob("*.ipynb")) == sorted(CHAPTERS + APPENDICES)
    assert (_build.CHAPTERS, _build.APPENDICES) == (CHAPTERS, APPENDICES)


def test_no_recorded_figure_is_left_over():
    notebooks = CHAPTERS + APPENDICES + SOLUTIONS
    used = {"run", *(prefix for path in notebooks for prefix, _ in checkpoints(path))}
    for dataset in ("digits", "cifar10"):
        left = [key for key in recorded(dataset) if not any(is_of(key, u) for u in used)]
        assert left == []


def test_blanks_are_generated_from_the_solutions():
    assert [p.name for p in BLANKS] == [p.name for p in SOLUTIONS]
    for solution, path in zip(SOLUTIONS, BLANKS, strict=True):
        expected = nbformat.writes(_build.blank(read(solution))) + "\n"
        assert path.read_text(encoding="utf-8") == expected, "run: make exercises"


@pytest.mark.parametrize("path", SOLUTIONS, ids=name)
def test_solutions_hold_all_four_parts(path):
    notebook = read(path)
    for tag in ("solution", "check", "teacher"):
        assert any(tag in tags(c) for c in notebook.cells), tag


@pytest.mark.parametrize("path", BLANKS, ids=name)
def test_blank_exercises_stop_at_their_checks_and_say_why(path):
    notebook = read(path)
    NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=True,
                   resources={"metadata": {"path": str(path.parent)}}).execute()  # fmt: skip
    for cell in code_cells(notebook):
        errors = [o for o in cell.outputs if o.output_type == "error"]
        if "check" not in tags(cell):
            assert errors == [], cell.source
            continue
        assert [e.ename for e in errors] == ["AssertionError"], cell.source
        assert len(errors[0].evalue) >= 20, "a check says which property is violated"

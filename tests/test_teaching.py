"""What is handed to teachers: figures, minutes, sections and marks agree with the series."""

import ast
import html
import os
import re
import subprocess
import sys
import zipfile
from fractions import Fraction
from importlib.util import find_spec
from itertools import product
from math import comb
from pathlib import Path

import nbformat
import numpy as np
import pytest
from test_notebooks import (
    CHAPTERS,
    FOLDER,
    SOLUTIONS,
    prose,
    read,
    tags,
    untied_figures,
    wrong_figures,
)

from grh_helpers import graph_step
from grh_helpers.checkpoints import recorded

ROOT = FOLDER.parent
TEACHING = ROOT / "teaching"
sys.path.insert(0, str(TEACHING))

import _build  # noqa: E402
import assignments  # noqa: E402
import slides  # noqa: E402
import variants  # noqa: E402
import worksheet  # noqa: E402

PAGES = sorted(TEACHING.glob("*.md"))
RUN_SHEETS = (TEACHING / "run_sheets.md").read_text(encoding="utf-8")
QUESTIONS = (TEACHING / "questions.md").read_text(encoding="utf-8")


def stem(path):
    return path.name


@pytest.mark.parametrize("path", PAGES, ids=stem)
class TestEveryPage:
    def test_quoted_figures_are_the_recorded_ones(self, path):
        assert wrong_figures(path.read_text(encoding="utf-8"), recorded) == []

    def test_no_loose_figure(self, path):
        text = re.sub(r"[\d.]+ ms<!--given-->|Python 3\.\d+", "", path.read_text(encoding="utf-8"))
        assert untied_figures(text) == []

    def test_links_lead_to_files_and_sections(self, path):
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
            if target.startswith("http"):
                continue
            file, _, section = target.partition("#")
            assert (path.parent / file).exists(), target
            if section and file.endswith(".ipynb"):
                text = "\n".join(prose(read(path.parent / file)))
                headings = re.findall(r"^#+ (.+)$", text, re.M)
                assert section in [heading.replace(" ", "-") for heading in headings], target

    def test_every_make_target_exists(self, path):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.M))
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:`|^)make ([a-z0-9-]+)", text, re.M)) <= targets


@pytest.mark.parametrize("path", PAGES, ids=stem)
def test_figures_and_exercises_that_a_page_names_exist(path):
    text = path.read_text(encoding="utf-8")
    chapters = "\n".join("\n".join(prose(read(chapter))) for chapter in CHAPTERS)
    for figure in re.findall(r"Figure \d+\.\d+", text):
        assert f"**{figure}" in chapters, figure
    exercises = {
        int(solution.name[:2]): len(re.findall(r"^## ", "\n".join(prose(read(solution))), re.M))
        for solution in SOLUTIONS
    }
    named = re.findall(r"exercise (\d)(?: or (\d))? of chapter (\d+)", text)
    assert named or path.name != "run_sheets.md"
    for *numbers, chapter in named:
        assert max(map(int, filter(None, numbers))) <= exercises[int(chapter)]


def test_every_chapter_has_polls_questions_of_students_stumbling_blocks_and_an_exam_question():
    parts = re.split(r"^## Chapter (\d+): ", QUESTIONS, flags=re.M)
    assert parts[1::2] == [str(n) for n in range(11)]
    for text in parts[2::2]:
        assert len(re.findall(r"^\*\*\d+[a-z]\.\*\* ", text, re.M)) >= 2
        for title in ("What students ask.", "Where students stumble.", "Exam question"):
            assert text.count(f"**{title}**") == 1


def test_minutes_of_each_session_add_up_to_90():
    sessions = re.split(r"^##+ ", RUN_SHEETS, flags=re.M)
    timed = 0
    for session in sessions:
        if rows := re.findall(r"^\| (\d+) to (\d+) \|", session, re.M):
            timed += 1
            ends = [(int(start), int(end)) for start, end in rows]
            assert ends[0][0] == 0 and ends[-1][1] == 90, session[:60]
            assert all(a[1] == b[0] for a, b in zip(ends, ends[1:], strict=False)), session[:60]
    assert timed == 4
    sums = re.findall(r"^\| \d \|[^|]*\| ([\d+ ]+) \|", RUN_SHEETS, re.M)
    assert len(sums) == 6 and all(sum(map(int, row.split("+"))) == 90 for row in sums)


def test_polls_that_the_run_sheets_name_exist_and_have_one_right_answer():
    polls = re.split(r"^\*\*(\d+[a-z])\.\*\* ", QUESTIONS, flags=re.M)
    found = dict(zip(polls[1::2], polls[2::2], strict=True))
    assert {re.match(r"\d+", name)[0] for name in found} == {str(n) for n in range(11)}
    for name, text in found.items():
        (answer,) = re.findall(r"\*\*Answer: ([A-D])", text)
        options = re.findall(r"\(([A-D])\) ", text.split("**Answer")[0])
        assert options == list("ABCD")[: len(options)] and answer in options, name
    named = re.findall(r"\b(\d+[a-e])\b", " ".join(re.findall(r"polls? ([^;|:]+)", RUN_SHEETS)))
    assert named and set(named) <= set(found)


def test_marks_of_each_exam_question_add_up():
    questions = re.findall(
        r"\*\*Exam question\*\* \[(\d+)\]\.(.*?)\*Model answer\.\*", QUESTIONS, re.S
    )
    assert len(questions) == 11
    for total, text in questions:
        assert int(total) == sum(map(int, re.findall(r"\[(\d+)\]", text))), text[:60]


def test_marks_of_the_project_add_up_to_100():
    project = (TEACHING / "project.md").read_text(encoding="utf-8")
    assert sum(map(int, re.findall(r"^\| (\d+) \|", project, re.M))) == 100


class TestWorksheet:
    def test_same_bytes_each_time_and_as_stored(self, tmp_path):
        for folder in ("one", "two"):
            (tmp_path / folder).mkdir()
            worksheet.write(tmp_path / folder)
        for name in ("worksheet.pdf", "worksheet_answers.pdf"):
            one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
            assert one == two and b"/Count 4" in one
            assert abs(len(one) - (TEACHING / name).stat().st_size) < 2000, "run: make worksheet"

    def test_toys_are_those_of_the_chapters(self):
        def literal(path, pattern):
            code = "\n".join(c.source for c in read(FOLDER / path).cells if c.cell_type == "code")
            return ast.literal_eval(re.search(pattern, code, re.S)[1])

        two, three, four = "02_lsh_buckets.ipynb", "03_hamming_search.ipynb", "04_grh_steps.ipynb"
        points, normals = (
            rf"\b{name} = np\.array\(\s*(\[\[.*?\]\])\s*\)" for name in ("points", "normals")
        )
        assert literal(two, points) == worksheet.POINTS_2.tolist()
        assert literal(two, normals) == worksheet.NORMALS_2.tolist()
        assert literal(three, r"items = (\{.*?\})") == worksheet.ITEMS_3
        assert literal(four, points) == worksheet.POINTS_4.tolist()
        assert literal(four, normals) == worksheet.NORMALS_4.tolist()
        assert literal(four, r"written\(toy_L1\) == (\[.*?\])") == worksheet.LEARNED_4

    def test_step_a_agrees_with_the_package(self):
        first = np.where(worksheet.POINTS_4 @ worksheet.NORMALS_4.T >= 0, 1, -1)

        def mean(signs):
            halves = [signs[worksheet.SHIP].mean(axis=0), signs[~worksheet.SHIP].mean(axis=0)]
            return np.array(halves)[(~worksheet.SHIP).astype(int)]

        expected = graph_step(first > 0, first > 0, mean, worksheet.ALPHA)
        for bit in range(3):
            rows = worksheet.step_a(first[:, bit], first[:, bit])
            assert [row[-2] == "+1" for row in rows] == expected[:, bit].tolist()
            flips = (expected != (first > 0))[:, bit]
            assert [row[-1] == "flips" for row in rows] == flips.tolist()


def run_cells(notebook):
    """Run the code of a notebook and return, for each check cell, its error or None."""
    names, found = {}, []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        try:
            exec(cell.source, names)
            error = None
        except AssertionError as caught:
            error = caught
        if "check" in tags(cell):
            found.append(error)
        else:
            assert error is None
    return found


class TestVariants:
    @pytest.mark.parametrize("seed", range(40))
    def test_answers_pass_and_blanks_do_not(self, seed):
        answers = variants.notebook(seed)
        assert run_cells(answers) == [None] * 6
        blanks = run_cells(_build.blank(answers))
        assert all("no answer yet" in str(error) for error in blanks) and len(blanks) == 6

    def test_a_wrong_answer_is_refused(self):
        answers = variants.notebook(3)
        for cell in answers.cells:
            if "solution" in tags(cell):
                cell.source += "\n" + re.sub(r"(answer_\d) = .*", r"\1 = (\1, 1)", cell.source)
        assert all("not right" in str(error) for error in run_cells(answers))

    def test_seeds_differ_and_a_seed_repeats(self):
        def texts(seed):
            return [c.source for c in variants.notebook(seed).cells if c.cell_type == "markdown"]

        assert texts(1) == texts(1)
        for question in range(1, 7):
            assert len({texts(seed)[question] for seed in range(20)}) >= 8

    def test_answers_agree_with_slow_ways_to_them(self):
        for seed in range(60):
            text, answer = variants.ties(np.random.default_rng(seed))
            near, hits, far, more, k = map(
                int, re.findall(r"(?<!distance )\b(\d+)\b(?!\.\))", text)
            )
            ranks = [Fraction(hits, near)] * near + [Fraction(more, far)] * far
            assert answer == sum(ranks[:k]) / k
            text, answer = variants.flips(np.random.default_rng(seed))
            votes = np.array([-1, *ast.literal_eval(re.search(r"`(.*?)`", text)[1])])
            for alpha, flipped in ((float(answer) - 1e-6, False), (float(answer) + 1e-6, True)):
                assert (alpha * votes.mean() - (1 - alpha) > 0) == flipped
            text, (whole, cut) = variants.probes(np.random.default_rng(seed))
            bits, radius, m, width = map(int, re.findall(r"\b(\d+)\b(?!\.\))", text))
            if bits <= 16:
                assert whole == sum(c.bit_count() <= radius for c in range(2**bits))
            radii = min(
                (r for r in product(range(-1, width + 1), repeat=m) if sum(r) + m > radius),
                key=lambda r: sum(comb(width, i) for chunk in r for i in range(chunk + 1)),
            )
            assert cut == sum(comb(width, i) for chunk in radii for i in range(chunk + 1))


@pytest.mark.parametrize("path", SOLUTIONS, ids=stem)
def test_assignment_holds_all_answers_and_checks(path):
    solution = read(path)
    exported = assignments.assignment(read(path))
    about = [c.metadata.get("nbgrader", {}) for c in exported.cells]
    checks = [c for c in solution.cells if "check" in tags(c)]
    assert sum(a.get("grade", False) for a in about) == len(checks) >= 2
    assert all(a["locked"] and a["points"] == 2 for a in about if a.get("grade"))
    answers = [c for c in solution.cells if "solution" in tags(c)]
    assert sum(a.get("solution", False) for a in about) == len(answers)
    ids = [a["grade_id"] for a in about if a]
    assert len(set(ids)) == len(ids)
    source = "\n".join(c.source for c in exported.cells)
    assert source.count(assignments.BEGIN) == source.count(assignments.END) == len(answers)
    assert not any("teacher" in tags(c) for c in exported.cells)
    left = re.sub(rf"{assignments.BEGIN}.*?{assignments.END}", "", source, flags=re.S)
    for cell in answers:
        longest = max(cell.source.splitlines(), key=len)
        assert longest in source and (longest not in left or longest in _build_blank_text(solution))


def _build_blank_text(solution):
    return "\n".join(c.source for c in _build.blank(solution).cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", SOLUTIONS, ids=stem)
def test_nbgrader_gives_full_marks_to_answers_and_none_to_blanks(path, tmp_path):
    if find_spec("nbgrader") is None:
        pytest.skip("nbgrader is not installed: pip install -r teaching/requirements.txt")
    from nbgrader.api import Gradebook

    assignments.main(tmp_path, [path])
    environment = {**os.environ, "GRH_DATASET": "digits"}
    for name, folder in (("PATH", Path(sys.executable).parent), ("PYTHONPATH", ROOT)):
        environment[name] = os.pathsep.join([str(folder), os.environ.get(name, "")])

    def nbgrader(word):
        command = [sys.executable, "-m", "nbgrader", word, path.stem, "--create"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    nbgrader("generate_assignment")
    released = read(tmp_path / "release" / path.stem / path.name)
    assert "SOLUTION" not in "\n".join(c.source for c in released.cells)
    answers = read(tmp_path / "source" / path.stem / path.name)
    cheated = nbformat.from_dict(released)
    for cell in cheated.cells:
        if "check" in tags(cell):
            cell.source = "pass"
    for student, notebook in (("answers", answers), ("blank", released), ("cheat", cheated)):
        folder = tmp_path / "submitted" / student / path.stem
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / path.name)
    nbgrader("autograde")
    checks = sum("check" in tags(c) for c in released.cells)
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
        marks = {s.student.id: s.score for s in gradebook.assignment_submissions(path.stem)}
    assert marks == {"answers": 2 * checks, "blank": 0, "cheat": 0}


@pytest.mark.slow
def test_offline_kit_installs_without_an_index(tmp_path):
    kit = ROOT / "output" / "offline-kit"
    if not (kit / "README.md").exists():
        pytest.skip("there is no output/offline-kit: make offline-kit")
    (archive,) = kit.glob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path)
    (course,) = (folder for folder in tmp_path.iterdir() if folder.is_dir())
    dropped = ("PYTHONPATH", "GRH_DATA_HOME")
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PIP_") and name not in dropped
    }
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_FIND_LINKS": str(kit / "wheels"),
        "GRH_DATASET": "digits",
        "GRH_DATA_HOME": str(tmp_path / "data"),
    }
    python = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    for command in (
        [sys.executable, "-m", "venv", str(tmp_path / "venv")],
        [str(python), "-m", "pip", "install", "-q", "-r", "requirements.txt"],
        [str(python), "-m", "grh_helpers", "run", "--seeds", "1"],
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax",
         "--nbval-current-env", "--nbval-cell-timeout=600", "notebooks/02_lsh_buckets.ipynb"],
    ):  # fmt: skip
        done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("path", CHAPTERS, ids=stem)
def test_slides_stand_alone_and_show_every_figure(path):
    notebook = read(path)
    page = slides.deck(notebook)
    text = re.sub(r"base64,[\w+/=]+", "", page)
    assert not re.search(r"https?://|<link(?! rel=\"icon\" href=\"data:)|@@|<!--", text)
    body = re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.S)
    assert not re.search(r"\\[a-zA-Z]+|\$", re.sub(r"<code>.*?</code>", "", body))
    figures = [
        output.metadata["image/png"]["alt"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert [html.unescape(alt) for alt in re.findall(r'<img alt="(.*?)"', body)] == figures
    assert "What we saw" in body and body.count('class="ask"') >= 1
    numbers = re.findall(r"\*\*(Figure \d+\.\d+)", "\n".join(prose(notebook)))
    shown = re.findall(r'class="caption">(?:<p>)?<(?:b|strong)>(Figure \d+\.\d+)\.', body)
    hidden = sum("cifar-images" in tags(cell) for cell in notebook.cells)
    assert len(set(shown)) == len(shown) == (len(figures) if numbers else 0)
    assert shown == [n for n in dict.fromkeys(numbers) if n in shown] and set(shown) <= set(numbers)
    assert len(set(numbers)) - len(shown) in (0, hidden)


@pytest.mark.parametrize(
    ("paragraph", "asks"),
    [
        ("**Before you go on:** which is larger?", True),
        ("Four lengths and three methods. Will it double? **Figure 5.3** draws it.", True),
        ("Count what each query has to examine. By how much will the worst exceed the mean?", True),
        ("Fill in the table before running the cell.", True),
        ("What does the work? Not the landmarks: random ones change it by a little.", False),
        ("**Figure 8.4.** With words that it knows, it finds pictures. What makes this?", False),
        ("With a pencil: two equal bits are one bit.", False),
        ("Measure its recall before you trust it, which takes an index of all the vectors.", False),
        ("Both are computed for all images and for all of the queries. Do both ways agree?", False),
        ("Who competes?", False),
        ("| a | table? |", False),
    ],
)  # fmt: skip
def test_slides_ask_what_the_chapter_asks(paragraph, asks):
    assert slides.is_question(paragraph) == asks


def test_a_question_after_a_formula_brings_it_along():
    page = slides.deck(read(FOLDER / "04_grh_steps.ipynb"))
    (slide,) = re.findall(r"<section>(?:(?!<section>).)*?It looks like the same idea", page, re.S)
    assert "sgn(α sgn(D<sup>−1</sup>S L) + (1−α) L)" in slide
